// proxy-config on recorded config dumps: exit code, tables and first line of the error as istioctl printed them.

import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Difference, Suite } from '../suite.ts'

interface Case {
  readonly id: string
  readonly args: readonly string[]
  readonly input: string
  readonly exit: number
  readonly stdout: string
  readonly stderr?: string
}

interface Run {
  readonly exit: number | null
  readonly stdout: string
  readonly stderr: string
}

const MAIN = new URL('../../../src/cli/main.ts', import.meta.url).pathname

function run(args: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.on('data', (chunk) => (stderr += chunk))
    child.on('error', reject)
    child.on('close', (exit) => resolve({ exit, stdout, stderr }))
  })
}

/** Runs of spaces count as one. */
function collapse(text: string): string {
  return text.replace(/ +/g, ' ')
}

/** The message without the program's own word for it. */
function message(stderr: string): string {
  return (stderr.split('\n')[0] ?? '').replace(/^error: /i, '')
}

function compare(test: Case, got: Run): string | null {
  if (got.exit !== test.exit) return `exit ${got.exit} instead of ${test.exit}: ${got.stderr.trim()}`
  if (collapse(got.stdout) !== collapse(test.stdout)) return `printed\n${got.stdout}instead of\n${test.stdout}`
  if (test.exit !== 0 && message(got.stderr) !== message(test.stderr ?? ''))
    return `says "${message(got.stderr)}" instead of "${message(test.stderr ?? '')}"`
  return null
}

export const suite: Suite = {
  name: 'istioctl-output',
  async run(dataDirectory) {
    const directory = join(dataDirectory, 'conformance')
    const file = JSON.parse(await readFile(join(directory, 'istioctl-output.json'), 'utf8')) as { cases: Case[] }
    const differences: Difference[] = []
    for (const test of file.cases) {
      const args = test.args.map((arg) => (arg === '<file>' ? join(directory, test.input) : arg))
      const difference = compare(test, await run(args))
      if (difference !== null) differences.push({ id: test.id, message: difference })
    }
    return { total: file.cases.length, differences }
  },
}

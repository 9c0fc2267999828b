// A proxy under measurement: started on one core, its CPU time and memory read from /proc.

import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** CPU in microseconds; `compiling` is what other threads than the main one took (compilers, garbage collection). */
export interface Cpu {
  readonly user: number
  readonly system: number
}

export interface Subject {
  readonly name: string
  readonly pid: number
  readonly listener: number
  cpu(): Cpu
  rssMb(): number
  stop(): Promise<void>
}

export interface Command {
  readonly name: string
  readonly argv: readonly string[]
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
}

const TICK_US = 10_000

/** Starts `command -c CONFIG …` on `core` and waits until its admin port says ready. */
export async function startSubject(
  command: Command,
  config: object,
  ports: { listener: number; admin: number },
  dir: string,
  core: number,
): Promise<Subject & { readonly startMs: number }> {
  const file = join(dir, `${command.name}-${ports.listener}.json`)
  writeFileSync(file, JSON.stringify(config))
  const begun = performance.now()
  const child = spawn(
    'taskset',
    ['-c', String(core), ...command.argv, '-c', file, '--concurrency', '1', '-l', 'error'],
    { cwd: command.cwd, env: { ...process.env, ...command.env }, stdio: ['ignore', 'ignore', 'inherit'] },
  )
  await ready(child, `http://127.0.0.1:${ports.admin}/ready`, command.name)
  const startMs = performance.now() - begun
  const pid = child.pid!
  return {
    name: command.name,
    pid,
    listener: ports.listener,
    startMs,
    cpu() {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
      return { user: Number(fields[11]) * TICK_US, system: Number(fields[12]) * TICK_US }
    },
    rssMb: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024,
    stop: () => stop(child),
  }
}

async function ready(child: ChildProcess, url: string, name: string): Promise<void> {
  for (let i = 0; i < 3000; i++) {
    if (child.exitCode !== null) throw new Error(`${name} ended with code ${child.exitCode} before it was ready`)
    const answer = await fetch(url).catch(() => null)
    await answer?.text()
    if (answer?.ok) return
    await sleep(10)
  }
  child.kill()
  throw new Error(`${name} is not ready after 30 s: ${url}`)
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill()
  })
}

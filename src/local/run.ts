import { spawn } from 'node:child_process'

/** A system program that could not be started or ended badly; the message holds its own words. */
class CommandError extends Error {
  readonly stderr: string
  readonly exitCode: number | null
  constructor(command: string, exitCode: number | null, stderr: string, options?: ErrorOptions) {
    const text = stderr.trim()
    super(`${command}: ${text || `exit code ${exitCode}`}`, options)
    this.name = 'CommandError'
    this.stderr = text
    this.exitCode = exitCode
  }
}

/** Runs a program to its end and returns its stdout; a non-zero exit rejects with {@link CommandError}. */
export function run(
  program: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: options.timeoutMs })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    // A program that ends without reading its input is judged by its exit code, not by the broken pipe.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
    const name = [program, ...args].join(' ')
    child.on('error', (error) => reject(new CommandError(name, null, error.message, { cause: error })))
    child.on('close', (code, signal) => {
      if (code === 0) resolve(stdout)
      else reject(new CommandError(name, code, stderr || stdout || `ended by ${signal}`))
    })
  })
}

// The agent's public entry points. Each loads its half on use: the capture rules must not wait for gRPC and TLS.
import type { Logger } from '../base/logger.ts'
import type { CaptureFlags } from './iptables/flags.ts'
import type { AgentFlags } from './settings.ts'

export { addCaptureFlags, type CaptureFlags } from './iptables/flags.ts'
export type { AgentFlags, ProxyRole } from './settings.ts'

/** Runs one workload's agent to its end; resolves with the exit code. Throws ConfigError or UserError for bad settings. */
export async function runAgent(flags: AgentFlags, env: NodeJS.ProcessEnv, log: Logger): Promise<number> {
  const [{ readSettings }, run] = await Promise.all([import('./settings.ts'), import('./run.ts')])
  return run.runAgent(readSettings(flags, env), log)
}

/** Writes, shows, checks or removes the capture rules of a network namespace; resolves with the exit code. */
export async function runIptables(flags: CaptureFlags, env: NodeJS.ProcessEnv, log: Logger): Promise<number> {
  return (await import('./iptables/run.ts')).runIptables(flags, env, log)
}

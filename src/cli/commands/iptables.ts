import type { Command } from 'commander'
import { addCaptureFlags, type CaptureFlags, runIptables } from '../../agent/index.ts'
import { createLogger, scopedLevel } from '../../base/logger.ts'

/** `outrigger iptables`: istio-iptables, with its flags. */
export function register(program: Command): void {
  const command = program
    .command('iptables')
    .description('write the rules that capture the traffic of this network namespace')
  addCaptureFlags(command).action(async (flags: CaptureFlags) => {
    process.exitCode = await runIptables(
      flags,
      process.env,
      createLogger('iptables', scopedLevel(flags.log_output_level)),
    )
  })
}

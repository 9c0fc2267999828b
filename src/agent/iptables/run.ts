// `outrigger iptables`: from flags to rules in place.
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { errorText, UserError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import { type ApplyOptions, applyCapture, describeCapture, removeCapture } from './apply.ts'
import { type CaptureHost, capturesIpv6 } from './config.ts'
import { type CaptureFlags, captureConfig } from './flags.ts'
import { buildCapturePlan, dnsWanted } from './rules.ts'
import { VALIDATION_FAILED_EXIT_CODE, validateCapture } from './validate.ts'

/** Does what the flags say; the result is the exit code. Throws UserError or ConfigError for what cannot be done. */
export async function runIptables(flags: CaptureFlags, env: NodeJS.ProcessEnv, log: Logger): Promise<number> {
  if (flags.nativeNftables)
    throw new UserError('--native-nftables is not offered; iptables-nft (the default) writes nftables rules too')
  if (flags.cniMode && flags.networkNamespace === '') throw new UserError('--cni-mode needs --network-namespace', 64)
  const config = captureConfig(flags, env)
  const dualStack = flags.dualStack || env.ISTIO_DUAL_STACK === 'true'
  const host = inspectHost(dualStack)
  if (config.redirectDns && !dnsWanted(config, host)) {
    log.warn(
      'no nameserver in /etc/resolv.conf: DNS is not captured; --capture-all-dns captures it whatever the server',
    )
  }
  const plan = buildCapturePlan(config, host)
  const options: ApplyOptions = {
    networkNamespace: flags.networkNamespace,
    variant: flags.forceIptablesBinary as ApplyOptions['variant'],
    force: flags.forceApply,
    guard: flags.reconcile,
    log,
  }
  if (flags.dryRun) {
    process.stdout.write(describeCapture(plan))
    return 0
  }
  if (!flags.skipRuleApply || flags.cleanupOnly) {
    if (process.getuid?.() !== 0)
      throw new UserError('changing packet filter rules needs root; run with sudo, or with --dry-run')
    if (flags.cleanupOnly) removeCapture(plan, options)
    else applyCapture(plan, options)
  }
  if (!flags.runValidation) return 0
  try {
    await validateCapture(config, probePort(flags), probeTimeoutMs(flags))
    log.info('connections are redirected')
    return 0
  } catch (error) {
    log.error({ reason: errorText(error) }, 'connections are not redirected')
    return VALIDATION_FAILED_EXIT_CODE
  }
}

/** The network namespace as it is: families, nameservers. */
function inspectHost(dualStack: boolean): CaptureHost {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  const ipv6 = capturesIpv6(
    addresses.map(({ address }) => address),
    dualStack,
  )
  const servers = nameservers()
  return {
    ipv6,
    dnsServersV4: servers.filter((server) => isIP(server) === 4),
    dnsServersV6: servers.filter((server) => isIP(server) === 6),
  }
}

function nameservers(): string[] {
  let text: string
  try {
    text = readFileSync('/etc/resolv.conf', 'utf8')
  } catch {
    // No resolver configuration: no nameserver.
    return []
  }
  return [...text.matchAll(/^nameserver\s+(\S+)/gm)].map((match) => match[1]!)
}

function probePort(flags: CaptureFlags): number {
  const port = Number(flags.iptablesProbePort)
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new UserError(`--iptables-probe-port: "${flags.iptablesProbePort}" is not a port`, 64)
  return port
}

function probeTimeoutMs(flags: CaptureFlags): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(flags.probeTimeout)
  if (match === null) throw new UserError(`--probe-timeout: "${flags.probeTimeout}" is not a duration such as 5s`, 64)
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000 }[match[2] as 'ms' | 's' | 'm']
}

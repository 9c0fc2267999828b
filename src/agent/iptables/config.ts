// What istio-iptables is told (istio-contract 2.1), as plain data; flags and environment are read by the command.
import { isIP } from 'node:net'
import { ConfigError } from '../../base/errors.ts'

export interface CaptureConfig {
  /** `-p`: outbound capture. */
  readonly proxyPort: string
  /** `-z`: inbound capture. */
  readonly inboundCapturePort: string
  /** `-e`: HBONE, never redirected. */
  readonly inboundTunnelPort: string
  /** `-u`, `-g`: whose traffic is the proxy's own. */
  readonly proxyUids: readonly string[]
  readonly proxyGids: readonly string[]
  /** `-m`. */
  readonly interceptionMode: 'REDIRECT' | 'TPROXY'
  /** `-t`, `-r`. */
  readonly tproxyMark: string
  readonly tproxyRouteTable: string
  /** `-b`: `*`, ports, or nothing. */
  readonly inboundPorts: '*' | readonly string[]
  /** `-d`: only together with `*`. */
  readonly inboundPortsExclude: readonly string[]
  /** `-q` / `-o`. */
  readonly outboundPorts: readonly string[]
  readonly outboundPortsExclude: readonly string[]
  /** `-i`: `*` or CIDRs of either family. */
  readonly outboundRanges: '*' | readonly string[]
  /** `-x`: CIDRs; never `*`. */
  readonly outboundRangesExclude: readonly string[]
  /** `-c` / `-k`. */
  readonly excludeInterfaces: readonly string[]
  readonly rerouteInterfaces: readonly string[]
  readonly redirectDns: boolean
  readonly captureAllDns: boolean
  readonly dropInvalid: boolean
  /** ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR. */
  readonly loopbackCidr: string
  /** ISTIO_OUTBOUND_OWNER_GROUPS: `*` or the groups whose traffic alone is captured. */
  readonly ownerGroups: '*' | readonly string[]
  readonly ownerGroupsExclude: readonly string[]
}

/** What the rules need to know of the network namespace. */
export interface CaptureHost {
  readonly ipv6: boolean
  readonly dnsServersV4: readonly string[]
  readonly dnsServersV6: readonly string[]
}

/**
 * Whether IPv6 gets rules, from the namespace's own addresses: where there are IPv4 ones, too, only by dual stack. The
 * proxy of such a pod listens on IPv4 alone, and what is sent to it otherwise is refused (Istio).
 */
export function capturesIpv6(addresses: readonly string[], dualStack: boolean): boolean {
  const reachable = addresses.filter((address) => !/^(127\.|169\.254\.|::1$|fe[89ab])/i.test(address))
  return reachable.some((address) => isIP(address) === 6) && (dualStack || reachable.every((one) => isIP(one) === 6))
}

/** Istio's defaults. */
export const CAPTURE_DEFAULTS: CaptureConfig = {
  proxyPort: '15001',
  inboundCapturePort: '15006',
  inboundTunnelPort: '15008',
  proxyUids: ['1337'],
  proxyGids: ['1337'],
  interceptionMode: 'REDIRECT',
  tproxyMark: '1337',
  tproxyRouteTable: '133',
  inboundPorts: [],
  inboundPortsExclude: [],
  outboundPorts: [],
  outboundPortsExclude: [],
  outboundRanges: [],
  outboundRangesExclude: [],
  excludeInterfaces: [],
  rerouteInterfaces: [],
  redirectDns: false,
  captureAllDns: false,
  dropInvalid: false,
  loopbackCidr: '127.0.0.1/32',
  ownerGroups: '*',
  ownerGroupsExclude: [],
}

const MAX_OWNER_GROUPS = 64

/** Splits a comma list; spaces and empty entries do not count. */
export function splitList(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

/** A comma list where `*` means everything. */
export function splitListOrAll(text: string): '*' | string[] {
  return text.trim() === '*' ? '*' : splitList(text)
}

/** Throws ConfigError naming the flag whose value iptables would not take (or would take for something else). */
export function checkCaptureConfig(config: CaptureConfig): void {
  const ports: [string, readonly string[]][] = [
    ['-p', [config.proxyPort]],
    ['-z', [config.inboundCapturePort]],
    ['-e', [config.inboundTunnelPort]],
    ['-b', config.inboundPorts === '*' ? [] : config.inboundPorts],
    ['-d', config.inboundPortsExclude],
    ['-q', config.outboundPorts],
    ['-o', config.outboundPortsExclude],
  ]
  for (const [flag, values] of ports) for (const value of values) checkPort(flag, value)
  for (const [flag, ranges] of [
    ['-i', config.outboundRanges],
    ['-x', config.outboundRangesExclude],
  ] as const) {
    if (ranges !== '*') for (const range of ranges) checkCidr(flag, range)
  }
  checkCidr('ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR', config.loopbackCidr)
  const mask = Number(config.loopbackCidr.split('/')[1])
  if (!config.loopbackCidr.startsWith('127.') || mask < 8) {
    throw new ConfigError(
      'ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR',
      `must lie in 127.0.0.0/8 with a mask of 8 to 32, is ${config.loopbackCidr}`,
    )
  }
  for (const id of [...config.proxyUids, ...config.proxyGids]) checkWord('-u/-g', id, /^\d+$/)
  for (const name of [...config.excludeInterfaces, ...config.rerouteInterfaces])
    checkWord('-c/-k', name, /^[^\s/]{1,15}$/)
  const groups = [...(config.ownerGroups === '*' ? [] : config.ownerGroups), ...config.ownerGroupsExclude]
  for (const group of groups) checkWord('ISTIO_OUTBOUND_OWNER_GROUPS', group, /^[\w.-]+$/)
  if (config.ownerGroups !== '*' && config.ownerGroupsExclude.length > 0) {
    throw new ConfigError('ISTIO_OUTBOUND_OWNER_GROUPS', 'cannot be combined with ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE')
  }
  if (config.ownerGroups !== '*' && config.ownerGroups.length > MAX_OWNER_GROUPS) {
    throw new ConfigError(
      'ISTIO_OUTBOUND_OWNER_GROUPS',
      `holds ${config.ownerGroups.length} groups, at most ${MAX_OWNER_GROUPS} are possible`,
    )
  }
  for (const number of [config.tproxyMark, config.tproxyRouteTable]) checkWord('-t/-r', number, /^\d+$/)
}

function checkPort(flag: string, value: string): void {
  if (!/^\d{1,5}$/.test(value) || Number(value) < 1 || Number(value) > 65_535)
    throw new ConfigError(flag, `"${value}" is not a port`)
}

function checkCidr(flag: string, value: string): void {
  const [address = '', mask] = value.split('/')
  const family = isIP(address)
  if (family === 0) throw new ConfigError(flag, `"${value}" is not an address range; write it as 10.0.0.0/8`)
  if (mask !== undefined && (!/^\d{1,3}$/.test(mask) || Number(mask) > (family === 4 ? 32 : 128))) {
    throw new ConfigError(flag, `"${value}" has no valid mask`)
  }
}

function checkWord(flag: string, value: string, form: RegExp): void {
  if (!form.test(value)) throw new ConfigError(flag, `"${value}" is not valid here`)
}

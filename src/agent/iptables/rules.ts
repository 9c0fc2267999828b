// The capture rules of one network namespace (istio-contract 2.2 to 2.5): a pure function from configuration to rules.
// Order is behaviour: the kernel takes the first match, so every step below stands where istio-iptables puts it.
import { isIP } from 'node:net'
import type { CaptureConfig, CaptureHost } from './config.ts'

export type TableName = 'filter' | 'mangle' | 'nat' | 'raw'

/** One rule: where it goes and its match and target as iptables words. */
export interface Rule {
  readonly table: TableName
  readonly chain: string
  /** 1-based position for an insertion; null appends. */
  readonly position: number | null
  readonly words: readonly string[]
}

/** Everything to be done in a namespace. */
export interface CapturePlan {
  readonly ipv4: readonly Rule[]
  readonly ipv6: readonly Rule[]
  /** Commands beside the rules: the policy routes of TPROXY. */
  readonly commands: readonly (readonly string[])[]
}

/** Source of what the proxy sends to the application, and of probes; loopback traffic from it is never captured. */
const PASSTHROUGH_V4 = '127.0.0.6/32'
const PASSTHROUGH_V6 = '::6/128'
const DNS_CAPTURE_PORT = '15053'
/** On what the proxy sends to its own pod, whatever mark TPROXY uses. */
const OUTBOUND_MARK = '1338'

/** The rules for both families; `ipv6` is empty when the namespace has none. */
export function buildCapturePlan(config: CaptureConfig, host: CaptureHost): CapturePlan {
  const dns = dnsWanted(config, host)
  const tproxy = config.interceptionMode === 'TPROXY'
  return {
    ipv4: new Family(config, host, 4, dns).build(),
    ipv6: host.ipv6 ? new Family(config, host, 6, dns).build() : [],
    commands: tproxy && capturesInbound(config) ? tproxyRoutes(config, host.ipv6) : [],
  }
}

/** DNS capture without a nameserver to capture (and without capture-all) would only break names: it is left out. */
export function dnsWanted(config: CaptureConfig, host: CaptureHost): boolean {
  if (!config.redirectDns) return false
  return config.captureAllDns || host.dnsServersV4.length > 0 || host.dnsServersV6.length > 0
}

function capturesInbound({ inboundPorts }: CaptureConfig): boolean {
  return inboundPorts === '*' || inboundPorts.length > 0
}

function tproxyRoutes(config: CaptureConfig, ipv6: boolean): string[][] {
  const families = ipv6 ? ['inet', 'inet6'] : ['inet']
  return families.flatMap((family) => [
    ['ip', '-f', family, 'rule', 'add', 'fwmark', config.tproxyMark, 'lookup', config.tproxyRouteTable],
    ['ip', '-f', family, 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', config.tproxyRouteTable],
  ])
}

/** Collects the rules of one address family. */
class Family {
  readonly #config: CaptureConfig
  readonly #dns: boolean
  readonly #dnsServers: readonly string[]
  readonly #version: 4 | 6
  readonly #loopback: string
  readonly #passthrough: string
  readonly #rules: Rule[] = []

  constructor(config: CaptureConfig, host: CaptureHost, version: 4 | 6, dns: boolean) {
    this.#config = config
    this.#version = version
    this.#dns = dns
    const servers = version === 4 ? host.dnsServersV4 : host.dnsServersV6
    this.#dnsServers = servers.map((server) => `${server}/${version === 4 ? 32 : 128}`)
    this.#loopback = version === 4 ? config.loopbackCidr : '::1/128'
    this.#passthrough = version === 4 ? PASSTHROUGH_V4 : PASSTHROUGH_V6
  }

  build(): readonly Rule[] {
    const { dropInvalid, interceptionMode } = this.#config
    this.#exemptInterfaces()
    if (dropInvalid) {
      this.#add('mangle', 'PREROUTING', '-m conntrack --ctstate INVALID -j ISTIO_DROP')
      this.#add('mangle', 'ISTIO_DROP', '-j DROP')
    }
    this.#redirectTargets()
    if (interceptionMode === 'TPROXY') this.#inboundTproxy()
    else this.#inboundRedirect()
    this.#outbound()
    if (interceptionMode === 'TPROXY') this.#tproxyMarks()
    return this.#rules
  }

  #add(table: TableName, chain: string, words: string): void {
    this.#rules.push({ table, chain, position: null, words: words.split(' ') })
  }

  #insert(table: TableName, chain: string, position: number, words: string): void {
    this.#rules.push({ table, chain, position, words: words.split(' ') })
  }

  #exemptInterfaces(): void {
    const { excludeInterfaces, rerouteInterfaces, interceptionMode } = this.#config
    const tables: TableName[] = interceptionMode === 'TPROXY' ? ['nat', 'mangle'] : ['nat']
    for (const table of tables) {
      for (const name of excludeInterfaces) {
        this.#add(table, 'PREROUTING', `-i ${name} -j RETURN`)
        this.#add(table, 'OUTPUT', `-o ${name} -j RETURN`)
      }
    }
    // Redirects inserted later at the same position come before these returns.
    for (const name of rerouteInterfaces) this.#insert('nat', 'PREROUTING', 1, `-i ${name} -j RETURN`)
  }

  #redirectTargets(): void {
    const { inboundTunnelPort, proxyPort, inboundCapturePort } = this.#config
    this.#add('nat', 'ISTIO_INBOUND', `-p tcp --dport ${inboundTunnelPort} -j RETURN`)
    this.#add('nat', 'ISTIO_REDIRECT', `-p tcp -j REDIRECT --to-ports ${proxyPort}`)
    this.#add('nat', 'ISTIO_IN_REDIRECT', `-p tcp -j REDIRECT --to-ports ${inboundCapturePort}`)
  }

  #inboundRedirect(): void {
    const { inboundPorts, inboundPortsExclude } = this.#config
    if (!capturesInbound(this.#config)) return
    this.#add('nat', 'PREROUTING', '-p tcp -j ISTIO_INBOUND')
    if (inboundPorts !== '*') {
      for (const port of inboundPorts) this.#add('nat', 'ISTIO_INBOUND', `-p tcp --dport ${port} -j ISTIO_IN_REDIRECT`)
      return
    }
    for (const port of inboundPortsExclude) this.#add('nat', 'ISTIO_INBOUND', `-p tcp --dport ${port} -j RETURN`)
    this.#add('nat', 'ISTIO_INBOUND', '-p tcp -j ISTIO_IN_REDIRECT')
  }

  #inboundTproxy(): void {
    const { inboundPorts, inboundPortsExclude, tproxyMark, inboundCapturePort } = this.#config
    if (!capturesInbound(this.#config)) return
    this.#add('mangle', 'ISTIO_DIVERT', `-j MARK --set-mark ${tproxyMark}`)
    this.#add('mangle', 'ISTIO_DIVERT', '-j ACCEPT')
    const tproxy = `-j TPROXY --tproxy-mark ${tproxyMark}/0xffffffff --on-port ${inboundCapturePort}`
    this.#add('mangle', 'ISTIO_TPROXY', `! -d ${this.#loopback} -p tcp ${tproxy}`)
    this.#add('mangle', 'PREROUTING', '-p tcp -j ISTIO_INBOUND')
    const exclude = inboundPorts === '*' ? inboundPortsExclude : []
    for (const port of exclude) this.#add('mangle', 'ISTIO_INBOUND', `-p tcp --dport ${port} -j RETURN`)
    for (const match of inboundPorts === '*' ? ['-p tcp'] : inboundPorts.map((port) => `-p tcp --dport ${port}`)) {
      // An established connection has a socket already: it only needs the mark that routes it to this machine.
      this.#add('mangle', 'ISTIO_INBOUND', `${match} -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT`)
      this.#add('mangle', 'ISTIO_INBOUND', `${match} -j ISTIO_TPROXY`)
    }
  }

  #outbound(): void {
    const { outboundPortsExclude, outboundPorts, proxyUids, proxyGids } = this.#config
    this.#add('nat', 'OUTPUT', '-j ISTIO_OUTPUT')
    for (const port of outboundPortsExclude) {
      this.#add('nat', 'ISTIO_OUTPUT', `-p tcp --dport ${port} -j RETURN`)
      this.#add('nat', 'ISTIO_OUTPUT', `-p udp --dport ${port} -j RETURN`)
    }
    this.#add('nat', 'ISTIO_OUTPUT', `-o lo -s ${this.#passthrough} -j RETURN`)
    for (const uid of proxyUids) this.#proxyOwner('uid', uid)
    for (const gid of proxyGids) this.#proxyOwner('gid', gid)
    this.#ownerGroups()
    if (this.#dns) this.#captureDns()
    this.#add('nat', 'ISTIO_OUTPUT', `-d ${this.#loopback} -j RETURN`)
    this.#outboundRanges(outboundPorts)
  }

  /** The proxy's own traffic leaves; to its own pod's address it goes back in; app to app inside the pod is left alone. */
  #proxyOwner(kind: 'uid' | 'gid', id: string): void {
    const { inboundTunnelPort } = this.#config
    const owner = `--${kind}-owner ${id}`
    // The agent answers DNS over TCP under the proxy's uid: its answers must not be taken for calls.
    const ports =
      this.#dns && kind === 'uid' ? `-m multiport ! --dports 53,${inboundTunnelPort}` : `! --dport ${inboundTunnelPort}`
    this.#add(
      'nat',
      'ISTIO_OUTPUT',
      `-o lo ! -d ${this.#loopback} -p tcp ${ports} -m owner ${owner} -j ISTIO_IN_REDIRECT`,
    )
    if (!this.#capturesLoopback()) {
      const tcp = this.#dns ? '-p tcp ! --dport 53 ' : ''
      this.#add('nat', 'ISTIO_OUTPUT', `-o lo ${tcp}-m owner ! ${owner} -j RETURN`)
    }
    this.#add('nat', 'ISTIO_OUTPUT', `-m owner ${owner} -j RETURN`)
  }

  #capturesLoopback(): boolean {
    const { outboundRanges } = this.#config
    return (
      outboundRanges !== '*' && outboundRanges.some((range) => range.startsWith('127.') || /^::1(\/|$)/.test(range))
    )
  }

  #ownerGroups(): void {
    const { ownerGroups, ownerGroupsExclude } = this.#config
    for (const group of ownerGroupsExclude) this.#add('nat', 'ISTIO_OUTPUT', `-m owner --gid-owner ${group} -j RETURN`)
    if (ownerGroups === '*') return
    const none = ownerGroups.map((group) => `-m owner ! --gid-owner ${group}`)
    this.#add('nat', 'ISTIO_OUTPUT', [...none, '-j RETURN'].join(' '))
  }

  /** UDP needs conntrack zones: the agent's own look-ups and the captured ones share addresses and ports. */
  #captureDns(): void {
    const { proxyUids, proxyGids, captureAllDns } = this.#config
    const servers = captureAllDns ? [''] : this.#dnsServers
    const to = (flag: string, server: string) => (server === '' ? '' : ` ${flag} ${server}`)
    // A jump to a chain that nothing makes would fail the whole table: a family without servers has none.
    if (servers.length > 0) this.#add('nat', 'ISTIO_OUTPUT', '-j ISTIO_OUTPUT_DNS')
    for (const s of servers) {
      this.#add('nat', 'ISTIO_OUTPUT_DNS', `-p tcp --dport 53${to('-d', s)} -j REDIRECT --to-ports ${DNS_CAPTURE_PORT}`)
    }
    for (const s of servers) {
      this.#add('nat', 'ISTIO_OUTPUT_DNS', `-p udp --dport 53${to('-d', s)} -j REDIRECT --to-port ${DNS_CAPTURE_PORT}`)
    }
    this.#add('raw', 'OUTPUT', '-j ISTIO_OUTPUT_DNS')
    const owners = [...proxyUids.map((uid) => `--uid-owner ${uid}`), ...proxyGids.map((gid) => `--gid-owner ${gid}`)]
    for (const owner of owners) {
      this.#add('raw', 'ISTIO_OUTPUT_DNS', `-p udp --dport 53 -m owner ${owner} -j CT --zone 1`)
      this.#add('raw', 'ISTIO_OUTPUT_DNS', `-p udp --sport ${DNS_CAPTURE_PORT} -m owner ${owner} -j CT --zone 2`)
    }
    if (servers.length > 0) this.#add('raw', 'PREROUTING', '-j ISTIO_INBOUND')
    for (const s of servers) {
      this.#add('raw', 'ISTIO_OUTPUT_DNS', `-p udp --dport 53${to('-d', s)} -j CT --zone 2`)
      this.#add('raw', 'ISTIO_INBOUND', `-p udp --sport 53${to('-s', s)} -j CT --zone 1`)
    }
  }

  #outboundRanges(outboundPorts: readonly string[]): void {
    const { outboundRanges, outboundRangesExclude, rerouteInterfaces } = this.#config
    for (const range of this.#own(outboundRangesExclude)) this.#add('nat', 'ISTIO_OUTPUT', `-d ${range} -j RETURN`)
    for (const port of outboundPorts) this.#add('nat', 'ISTIO_OUTPUT', `-p tcp --dport ${port} -j ISTIO_REDIRECT`)
    if (outboundRanges === '*') {
      this.#add('nat', 'ISTIO_OUTPUT', '-j ISTIO_REDIRECT')
      for (const name of rerouteInterfaces) this.#insert('nat', 'PREROUTING', 1, `-i ${name} -j ISTIO_REDIRECT`)
      return
    }
    for (const range of this.#own(outboundRanges)) {
      for (const name of rerouteInterfaces)
        this.#insert('nat', 'PREROUTING', 1, `-i ${name} -d ${range} -j ISTIO_REDIRECT`)
      this.#add('nat', 'ISTIO_OUTPUT', `-d ${range} -j ISTIO_REDIRECT`)
    }
  }

  /** The ranges of this family. */
  #own(ranges: readonly string[]): readonly string[] {
    return ranges.filter((range) => isIP(range.split('/')[0]!) === this.#version)
  }

  /** Marks that keep a connection with the proxy: inbound ones 1337, the proxy's own to this pod 1338. */
  #tproxyMarks(): void {
    const { tproxyMark, proxyUids, proxyGids } = this.#config
    this.#add('mangle', 'PREROUTING', `-p tcp -m mark --mark ${tproxyMark} -j CONNMARK --save-mark`)
    this.#add('mangle', 'OUTPUT', `-p tcp -o lo -m mark --mark ${tproxyMark} -j RETURN`)
    const owners = [...proxyUids.map((uid) => `--uid-owner ${uid}`), ...proxyGids.map((gid) => `--gid-owner ${gid}`)]
    for (const owner of owners) {
      this.#add(
        'mangle',
        'OUTPUT',
        `! -d ${this.#loopback} -p tcp -o lo -m owner ${owner} -j MARK --set-mark ${OUTBOUND_MARK}`,
      )
    }
    this.#add('mangle', 'OUTPUT', `-p tcp -m connmark --mark ${tproxyMark} -j CONNMARK --restore-mark`)
    this.#insert('mangle', 'ISTIO_INBOUND', 1, `-p tcp -m mark --mark ${tproxyMark} -j RETURN`)
    this.#insert('mangle', 'ISTIO_INBOUND', 2, `-p tcp -s ${this.#passthrough} -i lo -j RETURN`)
    this.#insert('mangle', 'ISTIO_INBOUND', 3, `-p tcp -i lo -m mark ! --mark ${OUTBOUND_MARK} -j RETURN`)
  }
}

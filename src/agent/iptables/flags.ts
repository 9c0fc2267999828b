// istio-iptables' flags and environment, read into a CaptureConfig.
import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { CAPTURE_DEFAULTS, type CaptureConfig, checkCaptureConfig, splitList, splitListOrAll } from './config.ts'

/** The values commander collects; names follow the long flags. */
export interface CaptureFlags {
  readonly envoyPort: string
  readonly inboundCapturePort: string
  readonly inboundTunnelPort: string
  readonly proxyUid: string
  readonly proxyGid: string
  readonly istioInboundInterceptionMode: string
  readonly istioInboundTproxyMark: string
  readonly istioInboundTproxyRouteTable: string
  readonly istioInboundPorts: string
  readonly istioLocalExcludePorts: string
  readonly istioOutboundPorts: string
  readonly istioLocalOutboundPortsExclude: string
  readonly istioServiceCidr: string
  readonly istioServiceExcludeCidr: string
  readonly istioExcludeInterfaces: string
  readonly kubeVirtInterfaces: string
  readonly redirectDns: boolean
  readonly captureAllDns: boolean
  readonly dropInvalid: boolean
  readonly dualStack: boolean
  readonly dryRun: boolean
  readonly skipRuleApply: boolean
  readonly runValidation: boolean
  readonly iptablesProbePort: string
  readonly probeTimeout: string
  readonly networkNamespace: string
  readonly cniMode: boolean
  readonly reconcile: boolean
  readonly cleanupOnly: boolean
  readonly forceApply: boolean
  readonly nativeNftables: boolean
  readonly forceIptablesBinary: string
  readonly log_output_level: string
}

/** Adds every flag of istio-iptables to a command. */
export function addCaptureFlags(command: Command): Command {
  const d = CAPTURE_DEFAULTS
  return command
    .option('-p, --envoy-port <port>', 'outbound capture port', d.proxyPort)
    .option('-z, --inbound-capture-port <port>', 'inbound capture port', d.inboundCapturePort)
    .option('-e, --inbound-tunnel-port <port>', 'HBONE port, never redirected', d.inboundTunnelPort)
    .option('-u, --proxy-uid <uids>', "user ids of the proxy (default: ENVOY_USER's, else 1337)", '')
    .option('-g, --proxy-gid <gids>', 'group ids of the proxy (default: the user ids)', '')
    .addOption(
      new Option('-m, --istio-inbound-interception-mode <mode>', 'how inbound connections are captured')
        .choices(['REDIRECT', 'TPROXY'])
        .default('REDIRECT'),
    )
    .option('-t, --istio-inbound-tproxy-mark <mark>', 'packet mark of TPROXY', d.tproxyMark)
    .option('-r, --istio-inbound-tproxy-route-table <table>', 'routing table of TPROXY', d.tproxyRouteTable)
    .option('-b, --istio-inbound-ports <ports>', 'inbound ports to capture: *, a list, or nothing', '')
    .option('-d, --istio-local-exclude-ports <ports>', 'inbound ports left alone (with -b *)', '')
    .option('-q, --istio-outbound-ports <ports>', 'outbound ports to capture whatever the address', '')
    .option('-o, --istio-local-outbound-ports-exclude <ports>', 'outbound ports left alone', '')
    .option('-i, --istio-service-cidr <ranges>', 'outbound ranges to capture: *, a list, or nothing', '')
    .option('-x, --istio-service-exclude-cidr <ranges>', 'outbound ranges left alone', '')
    .option('-c, --istio-exclude-interfaces <names>', 'interfaces left alone in both directions', '')
    .option('-k, --kube-virt-interfaces <names>', 'interfaces whose inbound traffic counts as outbound', '')
    .option('-n, --dry-run', 'print what would be done', false)
    .option('--redirect-dns', 'capture DNS (ISTIO_META_DNS_CAPTURE)', false)
    .option('--capture-all-dns', "capture every DNS query, not only those to resolv.conf's servers", false)
    .option('--drop-invalid', 'drop packets that connection tracking calls invalid (INVALID_DROP)', false)
    .option('--dual-stack', 'IPv6 rules also where there are IPv4 addresses (ISTIO_DUAL_STACK)', false)
    .option('--skip-rule-apply', 'apply nothing', false)
    .option('--run-validation', 'check that connections are redirected; exit code 126 when not', false)
    .option('--iptables-probe-port <port>', 'port that the check dials', '15002')
    .option('--probe-timeout <duration>', 'time the check may take', '5s')
    .option('--network-namespace <path>', 'apply in this network namespace', '')
    .option('--cni-mode', 'called by a CNI plugin on the host: --network-namespace is required', false)
    .option('--reconcile', 'while existing rules are rewritten, let no packet pass', false)
    .option('--cleanup-only', 'remove the rules', false)
    .option('--force-apply', 'write the rules even when the same ones are in place', false)
    .option('--native-nftables', 'nftables rules instead of iptables ones (not offered)', false)
    .addOption(new Option('--force-iptables-binary <kind>', 'iptables variant to use').choices(['legacy', 'nft']))
    .option('--log_output_level <scopes>', 'log level: default:<level>', 'default:info')
}

/** Reads flags and environment into a checked configuration; throws ConfigError naming the flag. */
export function captureConfig(flags: CaptureFlags, env: NodeJS.ProcessEnv): CaptureConfig {
  const uids = splitList(flags.proxyUid)
  const proxyUids = uids.length > 0 ? uids : [envoyUser(env)]
  const gids = splitList(flags.proxyGid)
  const config: CaptureConfig = {
    proxyPort: flags.envoyPort,
    inboundCapturePort: flags.inboundCapturePort,
    inboundTunnelPort: flags.inboundTunnelPort,
    proxyUids,
    proxyGids: gids.length > 0 ? gids : proxyUids,
    interceptionMode: flags.istioInboundInterceptionMode as CaptureConfig['interceptionMode'],
    tproxyMark: flags.istioInboundTproxyMark,
    tproxyRouteTable: flags.istioInboundTproxyRouteTable,
    inboundPorts: splitListOrAll(flags.istioInboundPorts),
    inboundPortsExclude: splitList(flags.istioLocalExcludePorts),
    outboundPorts: splitList(flags.istioOutboundPorts),
    outboundPortsExclude: splitList(flags.istioLocalOutboundPortsExclude),
    outboundRanges: splitListOrAll(flags.istioServiceCidr),
    outboundRangesExclude: splitList(flags.istioServiceExcludeCidr),
    excludeInterfaces: splitList(flags.istioExcludeInterfaces),
    rerouteInterfaces: splitList(flags.kubeVirtInterfaces),
    redirectDns: flags.redirectDns || env.ISTIO_META_DNS_CAPTURE === 'true',
    captureAllDns: flags.captureAllDns,
    dropInvalid: flags.dropInvalid || env.INVALID_DROP === 'true',
    loopbackCidr: env.ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR || CAPTURE_DEFAULTS.loopbackCidr,
    ownerGroups: splitListOrAll(env.ISTIO_OUTBOUND_OWNER_GROUPS || '*'),
    ownerGroupsExclude: splitList(env.ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE ?? ''),
  }
  checkCaptureConfig(config)
  return config
}

/** The configuration of a command line in array form. */
export function captureConfigOf(args: readonly string[], env: NodeJS.ProcessEnv): CaptureConfig {
  const command = addCaptureFlags(new Command('iptables').exitOverride())
  return captureConfig(command.parse(args, { from: 'user' }).opts<CaptureFlags>(), env)
}

/** The uid of user ENVOY_USER (istio-proxy), 1337 when this machine has no such user. */
function envoyUser(env: NodeJS.ProcessEnv): string {
  const name = env.ENVOY_USER || 'istio-proxy'
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`))
  return line?.split(':')[2] ?? '1337'
}

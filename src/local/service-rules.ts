import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { MemoryStore } from '../cluster/index.ts'
import { safeHash } from './deployments.ts'
import type { EndpointSlice, Service } from './pod-types.ts'
import { run } from './run.ts'

/** kube-proxy's mark of connections whose answers must come back through the node. */
const MASQUERADE_MARK = '0x4000'

/**
 * The node's whole nat and filter tables as `iptables-restore` input: each port of each Service address is spread
 * over its ready endpoints with equal probability, as kube-proxy's iptables mode does; a port without endpoints is
 * refused at once. A pod that reaches itself through a Service is masqueraded, or it would drop its own packet.
 */
export function serviceRules(services: readonly Service[], slices: readonly EndpointSlice[]): string {
  const chains: string[] = []
  const rules: string[] = []
  const rejects: string[] = []
  for (const service of services) {
    const ip = service.spec.clusterIP
    if (!ip || ip === 'None' || service.spec.type === 'ExternalName') continue
    for (const port of service.spec.ports ?? []) {
      const protocol = (port.protocol ?? 'TCP').toLowerCase()
      const match = `-d ${ip}/32 -p ${protocol} -m ${protocol} --dport ${port.port}`
      const targets = readyEndpoints(service, port.name ?? '', slices)
      if (targets.length === 0) {
        rejects.push(`-A KUBE-SERVICES ${match} -j REJECT`)
        continue
      }
      const id = safeHash(
        `${service.metadata.namespace}/${service.metadata.name}:${port.port}/${protocol}`,
        16,
      ).toUpperCase()
      const chain = `KUBE-SVC-${id}`
      chains.push(`:${chain} - [0:0]`)
      rules.push(`-A KUBE-SERVICES ${match} -j ${chain}`)
      targets.forEach((target, i) => {
        const endpoint = `KUBE-SEP-${safeHash(`${id}${target.ip}:${target.port}`, 16).toUpperCase()}`
        const left = targets.length - i
        const spread = left > 1 ? `-m statistic --mode random --probability ${(1 / left).toFixed(10)} ` : ''
        chains.push(`:${endpoint} - [0:0]`)
        rules.push(`-A ${chain} ${spread}-j ${endpoint}`)
        rules.push(`-A ${endpoint} -s ${target.ip}/32 -j MARK --set-xmark ${MASQUERADE_MARK}/${MASQUERADE_MARK}`)
        rules.push(`-A ${endpoint} -p ${protocol} -m ${protocol} -j DNAT --to-destination ${target.ip}:${target.port}`)
      })
    }
  }
  return [
    '*nat',
    ':KUBE-SERVICES - [0:0]',
    ...chains,
    '-A PREROUTING -j KUBE-SERVICES',
    '-A OUTPUT -j KUBE-SERVICES',
    `-A POSTROUTING -m mark --mark ${MASQUERADE_MARK}/${MASQUERADE_MARK} -j MASQUERADE`,
    ...rules,
    'COMMIT',
    '*filter',
    ':KUBE-SERVICES - [0:0]',
    '-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES',
    '-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES',
    ...rejects,
    'COMMIT',
    '',
  ].join('\n')
}

function readyEndpoints(
  service: Service,
  portName: string,
  slices: readonly EndpointSlice[],
): { ip: string; port: number }[] {
  const { name, namespace } = service.metadata
  const found: { ip: string; port: number }[] = []
  for (const slice of slices) {
    if (slice.metadata.namespace !== namespace || slice.metadata.labels?.['kubernetes.io/service-name'] !== name)
      continue
    const port = slice.ports.find((p) => (p.name ?? '') === portName)?.port
    if (port === undefined) continue
    for (const endpoint of slice.endpoints) {
      // Kubernetes: an unset `ready` means ready.
      if (endpoint.conditions?.ready === false) continue
      for (const ip of endpoint.addresses) found.push({ ip, port })
    }
  }
  return found
}

/** Keeps the node's rules equal to what Services and EndpointSlices say. */
export class ServiceProxy {
  private readonly store: MemoryStore
  private readonly log: Logger
  private applied = ''
  private running = false
  private pending = false

  constructor(store: MemoryStore, log: Logger) {
    this.store = store
    this.log = log
    store.watch((events) => {
      if (events.some(({ kind }) => kind === 'Service' || kind === 'EndpointSlice.discovery.k8s.io')) this.schedule()
    })
    this.schedule()
  }

  private schedule(): void {
    this.pending = true
    if (!this.running) void this.sync()
  }

  /** One restore at a time; changes during one are taken by the next. */
  private async sync(): Promise<void> {
    this.running = true
    while (this.pending) {
      this.pending = false
      const services = this.store.list('Service') as Service[]
      const rules = serviceRules(services, this.store.list('EndpointSlice.discovery.k8s.io') as EndpointSlice[])
      if (rules === this.applied) continue
      try {
        await run('iptables-restore', ['--wait'], { input: rules })
        this.applied = rules
      } catch (error) {
        this.log.error(`service addresses: ${errorText(error)}`)
      }
    }
    this.running = false
  }
}

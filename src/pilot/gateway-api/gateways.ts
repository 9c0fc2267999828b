// Gateway: each listener becomes one Istio Gateway, behind the Service of the Gateway's deployment.
import type { Gateway, GatewayApiListener, GatewayApiResource, ServerTls } from '../../config/index.ts'
import { kubeHostname } from '../model/host.ts'
import type { GatewayApiIndex } from './inputs.ts'
import { GATEWAY_SERVICE, listenerGatewayName, PARENTS } from './names.ts'

/** A listener that routes may attach to. */
export interface AttachableListener {
  readonly gateway: GatewayApiResource<'Gateway'>
  readonly listener: GatewayApiListener
  /** `namespace/name` of the Istio Gateway made from it. */
  readonly istioGateway: string
  /** Namespaces whose routes may attach; null: all. */
  readonly namespaces: ReadonlySet<string> | null
  /** Route kinds that may attach. */
  readonly kinds: ReadonlySet<string>
}

const KINDS_OF_PROTOCOL: Readonly<Record<string, readonly string[]>> = {
  HTTP: ['HTTPRoute', 'GRPCRoute'],
  HTTPS: ['HTTPRoute', 'GRPCRoute'],
  TLS: ['TLSRoute', 'TCPRoute'],
  TCP: ['TCPRoute'],
}

export function convertGateways(index: GatewayApiIndex): { gateways: Gateway[]; listeners: AttachableListener[] } {
  const gateways: Gateway[] = []
  const listeners: AttachableListener[] = []
  for (const gateway of index.gateways()) {
    const { metadata, spec } = gateway
    const services = serviceHosts(gateway, index.domain)
    for (const listener of spec.listeners) {
      const name = listenerGatewayName(metadata.name, listener.name)
      const namespaces = allowedNamespaces(gateway, listener, index)
      const host = listener.hostname || '*'
      const tls = serverTls(gateway, listener, index)
      // A listener whose certificate may not be read serves nothing.
      if (tls === null) continue
      listeners.push({
        gateway,
        listener,
        istioGateway: `${metadata.namespace}/${name}`,
        namespaces,
        kinds: new Set(listener.allowedRoutes?.kinds?.map((k) => k.kind) ?? KINDS_OF_PROTOCOL[listener.protocol] ?? []),
      })
      gateways.push({
        kind: 'Gateway',
        apiVersion: 'networking.istio.io/v1',
        metadata: {
          ...metadata,
          name,
          annotations: {
            [GATEWAY_SERVICE]: services.join(','),
            [PARENTS]: `Gateway/${metadata.name}/${listener.name}.${metadata.namespace}`,
          },
        },
        spec: {
          servers: [
            {
              port: {
                number: listener.port,
                protocol: listener.protocol,
                name: `${listener.name}-${metadata.name}-${metadata.namespace}`,
              },
              hosts: namespaces ? [...namespaces].map((namespace) => `${namespace}/${host}`) : [`*/${host}`],
              tls,
            },
          ],
        },
        origin: gateway.origin,
        warnings: [],
      })
    }
  }
  return { gateways, listeners }
}

/** The Services in front: those that spec.addresses names, else the one istiod would deploy. */
function serviceHosts({ metadata, spec }: GatewayApiResource<'Gateway'>, domain: string): string[] {
  const named = (spec.addresses ?? [])
    .filter(({ type }) => type === 'Hostname')
    .map(({ value = '' }) => (value.includes('.') ? value : kubeHostname(value, metadata.namespace, domain)))
  if (named.length > 0) return named
  return [kubeHostname(`${metadata.name}-${spec.gatewayClassName}`, metadata.namespace, domain)]
}

function allowedNamespaces(
  gateway: GatewayApiResource<'Gateway'>,
  listener: GatewayApiListener,
  index: GatewayApiIndex,
): ReadonlySet<string> | null {
  const { from = 'Same', selector } = listener.allowedRoutes?.namespaces ?? {}
  switch (from) {
    case 'All':
      return null
    case 'Selector':
      return new Set(selector ? index.selectNamespaces(selector) : [])
    case 'Same':
      return new Set([gateway.metadata.namespace])
    case 'None':
      return new Set()
  }
}

/** Undefined: plain; null: TLS without a certificate that may be used. */
function serverTls(
  gateway: GatewayApiResource<'Gateway'>,
  { port, protocol, tls }: GatewayApiListener,
  index: GatewayApiIndex,
): ServerTls | undefined | null {
  if (protocol !== 'HTTPS' && protocol !== 'TLS') return undefined
  if (tls?.mode === 'Passthrough') return { mode: 'PASSTHROUGH' }
  const own = gateway.metadata.namespace
  const names: string[] = []
  for (const { group = '', kind = 'Secret', name, namespace = own } of tls?.certificateRefs ?? []) {
    const target = { group, kind, namespace, name }
    if (group !== '' || kind !== 'Secret') continue
    if (!index.mayRefer({ group: 'gateway.networking.k8s.io', kind: 'Gateway', namespace: own }, target)) continue
    names.push(`kubernetes://${namespace}/${name}`)
  }
  if (names.length === 0) return null
  const clients = clientTls(gateway, { port, tls }, index)
  if (clients === null) return null
  if (clients) return { ...clients, ...credentialsOf(names) }
  const mutual = tls?.options?.['gateway.istio.io/tls-terminate-mode']
  const mode = mutual === 'MUTUAL' || mutual === 'OPTIONAL_MUTUAL' ? mutual : 'SIMPLE'
  return { mode, ...credentialsOf(names) }
}

function credentialsOf(names: readonly string[]): Pick<ServerTls, 'credentialName' | 'credentialNames'> {
  return names.length === 1 ? { credentialName: names[0] } : { credentialNames: names }
}

/** How clients are validated. Undefined: not at all; null: by something that may not be read, so that none may enter. */
function clientTls(
  { metadata: { namespace: own }, spec }: GatewayApiResource<'Gateway'>,
  { port, tls }: Pick<GatewayApiListener, 'port' | 'tls'>,
  index: GatewayApiIndex,
): Pick<ServerTls, 'mode' | 'caCertCredentialName'> | undefined | null {
  const { frontend } = spec.tls ?? {}
  const ofPort = frontend?.perPort?.find((one) => one.port === port)
  const validation = tls?.frontendValidation ?? (ofPort ? ofPort.tls : frontend?.default)?.validation
  if (!validation) return undefined
  // Envoy takes one bundle; a second one is named as without effect.
  const [reference] = validation.caCertificateRefs
  if (!reference || (reference.group ?? '') !== '') return null
  const { kind = 'ConfigMap', name, namespace = own } = reference
  if (kind !== 'ConfigMap' && kind !== 'Secret') return null
  const from = { group: 'gateway.networking.k8s.io', kind: 'Gateway', namespace: own }
  if (!index.mayRefer(from, { group: '', kind, namespace, name })) return null
  return {
    mode: validation.mode === 'AllowInsecureFallback' ? 'OPTIONAL_MUTUAL' : 'MUTUAL',
    caCertCredentialName:
      kind === 'ConfigMap' ? `configmap://${namespace}/${name}` : `kubernetes://${namespace}/${name}-cacert`,
  }
}

// SDS answers: certificates that gateways name by credential, from Kubernetes Secrets and ConfigMaps.
import { create } from '@bufbuild/protobuf'
import { type DataSource, DataSourceSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { type Secret, SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { KubeObject } from '../../cluster/index.ts'
import { credentialBytes } from '../model/credential.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'

/** Secrets: as Istio's Gateways and DestinationRules name them, and as Gateways of the Gateway API do. */
const SECRETS = ['kubernetes://', 'kubernetes-gateway://']
const CONFIG_MAP = 'configmap://'
const CA_SUFFIX = '-cacert'
/** In place of a namespace among the grants. */
const ANYBODY = '*'

/**
 * The named secrets that exist in the proxy's own namespace or are granted to it. A name is `kubernetes://[namespace/]name`
 * (or `kubernetes-gateway://`), with the suffix
 * `-cacert` for what client certificates are checked against, or `configmap://[namespace/]name`.
 */
export function generateSecrets(proxy: ProxyNode, push: PushContext, names: Iterable<string>): Secret[] {
  const out: Secret[] = []
  // Secrets of another cluster are not known here, nor is a proxy that tells no cluster of this one.
  if (proxy.clusterId !== push.clusterId) return out
  for (const name of names) {
    const secret = buildSecret(name, proxy.namespace, push)
    if (secret) out.push(secret)
  }
  return out
}

function buildSecret(
  name: string,
  own: string,
  { credentials, credentialGrants }: Pick<PushContext, 'credentials' | 'credentialGrants'>,
): Secret | null {
  const fromConfigMap = name.startsWith(CONFIG_MAP)
  const prefix = [CONFIG_MAP, ...SECRETS].find((one) => name.startsWith(one))
  if (prefix === undefined) return null
  const rest = name.slice(prefix.length)
  const slash = rest.indexOf('/')
  const namespace = slash < 0 ? own : rest.slice(0, slash)
  const object = slash < 0 ? rest : rest.slice(slash + 1)
  // A namespace's credentials are for its own proxies, and for whom it grants them to.
  if (namespace !== own && ![own, ANYBODY].some((who) => credentialGrants.has(`${who}|${name}`))) return null
  const find = (kind: string, key: string) => credentials.get(`${kind}/${namespace}/${key}`)
  if (fromConfigMap) {
    return authority(name, find('ConfigMap', object) ?? find('ConfigMap', withoutSuffix(object)))
  }
  if (!object.endsWith(CA_SUFFIX)) return keyPair(name, find('Secret', object))
  // The client CA may stand in a Secret of its own or beside the key pair.
  const alone = authority(name, find('Secret', object))
  return alone ?? authority(name, find('Secret', withoutSuffix(object)))
}

function withoutSuffix(name: string): string {
  return name.endsWith(CA_SUFFIX) ? name.slice(0, -CA_SUFFIX.length) : name
}

function keyPair(name: string, object: KubeObject | undefined): Secret | null {
  const chain = field(object, ['tls.crt', 'cert'])
  const key = field(object, ['tls.key', 'key'])
  if (!chain || !key) return null
  const staple = field(object, ['tls.ocsp-staple'])
  return create(SecretSchema, {
    name,
    type: { case: 'tlsCertificate', value: { certificateChain: chain, privateKey: key, ocspStaple: staple } },
  })
}

function authority(name: string, object: KubeObject | undefined): Secret | null {
  const trustedCa = field(object, ['ca.crt', 'cacert'])
  if (!trustedCa) return null
  return create(SecretSchema, {
    name,
    type: { case: 'validationContext', value: { trustedCa, crl: field(object, ['ca.crl']) } },
  })
}

function field(object: KubeObject | undefined, names: readonly string[]): DataSource | undefined {
  const bytes = object && credentialBytes(object, names)
  return bytes && create(DataSourceSchema, { specifier: { case: 'inlineBytes', value: bytes } })
}

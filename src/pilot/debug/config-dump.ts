// What one proxy would be sent now: Envoy's config_dump, and the resources of single types.
import { create, fromBinary, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf'
import { type Any, AnySchema, anyPack } from '@bufbuild/protobuf/wkt'
import {
  BootstrapConfigDumpSchema,
  type ConfigDump,
  ConfigDumpSchema,
  SecretsConfigDumpSchema,
} from '../../api/gen/envoy/admin/v3/config_dump_pb.js'
import {
  ClustersConfigDumpSchema,
  EcdsConfigDumpSchema,
  EndpointsConfigDumpSchema,
  ListenersConfigDumpSchema,
  RoutesConfigDumpSchema,
  ScopedRoutesConfigDumpSchema,
} from '../../api/gen/envoy/admin/v3/config_dump_shared_pb.js'
import { SecretSchema } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { typeRegistry } from '../../api/registry.ts'
import type { EncodedResource } from '../../xds/server-types.ts'
import { CDS_TYPE, ECDS_TYPE, EDS_TYPE, isNamedType, LDS_TYPE, RDS_TYPE, SDS_TYPE } from '../../xds/type-urls.ts'
import type { PushContext } from '../model/push-context.ts'
import { NDS_TYPE } from '../nds/generate.ts'
import type { Client } from '../push/client.ts'
import type { ResourceGenerator } from '../push/resources.ts'

/** Istio's short names of the types, as `types=` of `/debug/config_dump` has them. */
const SHORT_TYPES: Readonly<Record<string, string>> = {
  CDS: CDS_TYPE,
  LDS: LDS_TYPE,
  RDS: RDS_TYPE,
  EDS: EDS_TYPE,
  SDS: SDS_TYPE,
  NDS: NDS_TYPE,
  ECDS: ECDS_TYPE,
}

/** One proxy, and what its resources are made of. */
export interface DumpInput {
  readonly client: Client
  readonly push: PushContext
  readonly generator: ResourceGenerator
}

/** Resources of a type as they would be sent now; none of a type that the proxy does not watch. Keys are redacted. */
function resourcesOf(typeUrl: string, { client, push, generator }: DumpInput): EncodedResource[] {
  const watched = client.connection.watched(typeUrl)
  if (!watched) return []
  const names = watched.wildcard && !isNamedType(typeUrl) ? null : [...watched.names].sort()
  const resources = generator.generate(typeUrl, client.proxy, push, names)
  return typeUrl === SDS_TYPE ? resources.map(redacted) : resources
}

function redacted(resource: EncodedResource): EncodedResource {
  const secret = fromBinary(SecretSchema, resource.body)
  if (secret.type.case !== 'tlsCertificate') return resource
  const inlineBytes = new TextEncoder().encode('[redacted]')
  const certificate = { ...secret.type.value, privateKey: { specifier: { case: 'inlineBytes', value: inlineBytes } } }
  const without = create(SecretSchema, {
    name: secret.name,
    type: { case: 'tlsCertificate', value: certificate as never },
  })
  return { ...resource, body: toBinary(SecretSchema, without) }
}

function anyOf(typeUrl: string, { body }: EncodedResource): Any {
  return create(AnySchema, { typeUrl, value: body })
}

/** `types=`: the resources of some types and nothing around them. Unknown types have none. */
export function typedDump(types: readonly string[], input: DumpInput): ConfigDump {
  const urls = new Set(types.map((type) => SHORT_TYPES[type.toUpperCase()] ?? type))
  const configs = [...urls].flatMap((url) => resourcesOf(url, input).map((resource) => anyOf(url, resource)))
  return create(ConfigDumpSchema, { configs })
}

/** Everything, in the sections and the order of Envoy's config_dump, as istiod fills them. */
export function configDump(input: DumpInput, includeEds: boolean): ConfigDump {
  const versionInfo = input.push.version
  const anys = (typeUrl: string) => resourcesOf(typeUrl, input).map((resource) => anyOf(typeUrl, resource))
  const clusters = create(ClustersConfigDumpSchema, {
    versionInfo,
    dynamicActiveClusters: anys(CDS_TYPE).map((cluster) => ({ cluster })),
  })
  const listeners = create(ListenersConfigDumpSchema, {
    versionInfo,
    dynamicListeners: resourcesOf(LDS_TYPE, input).map((resource) => ({
      name: resource.name,
      activeState: { versionInfo, listener: anyOf(LDS_TYPE, resource) },
    })),
  })
  const routes = create(RoutesConfigDumpSchema, {
    dynamicRouteConfigs: anys(RDS_TYPE).map((routeConfig) => ({ versionInfo, routeConfig })),
  })
  const secrets = create(SecretsConfigDumpSchema, {
    dynamicActiveSecrets: anys(SDS_TYPE).map((secret) => ({ versionInfo, secret })),
  })
  const extensions = create(EcdsConfigDumpSchema, {
    ecdsFilters: anys(ECDS_TYPE).map((ecdsFilter) => ({ versionInfo, ecdsFilter })),
  })
  const endpoints = create(EndpointsConfigDumpSchema, {
    dynamicEndpointConfigs: includeEds ? anys(EDS_TYPE).map((endpointConfig) => ({ versionInfo, endpointConfig })) : [],
  })
  return create(ConfigDumpSchema, {
    configs: [
      anyPack(BootstrapConfigDumpSchema, create(BootstrapConfigDumpSchema)),
      anyPack(ClustersConfigDumpSchema, clusters),
      ...(includeEds ? [anyPack(EndpointsConfigDumpSchema, endpoints)] : []),
      anyPack(ListenersConfigDumpSchema, listeners),
      anyPack(ScopedRoutesConfigDumpSchema, create(ScopedRoutesConfigDumpSchema)),
      anyPack(RoutesConfigDumpSchema, routes),
      anyPack(SecretsConfigDumpSchema, secrets),
      anyPack(EcdsConfigDumpSchema, extensions),
    ],
  })
}

export function dumpJson(dump: ConfigDump): JsonValue {
  return toJson(ConfigDumpSchema, dump, { registry: typeRegistry })
}

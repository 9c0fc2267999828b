// A proxy on a delta ADS stream, as Envoy follows one: it asks for what clusters and listeners name, acknowledges everything
// and forgets what is removed. What it holds is compared with what a new proxy would be told.
import { create, type DescMessage, fromBinary, type JsonValue, toBinary } from '@bufbuild/protobuf'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { Client, type ClientDuplexStream, credentials } from '@grpc/grpc-js'
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { ANSWERED, type Answered, field, stringsCalled } from './ads.ts'
import { messageJson, nodeMessageOf, type ProxyDescription } from './pilot.ts'

/** What is followed: secrets and pull secrets of extensions are not for proxies that have proved nothing. */
const FOLLOWED = ['clusters', 'endpoints', 'listeners', 'routes', 'names'] as const satisfies readonly Answered[]
export type Followed = (typeof FOLLOWED)[number]

const urlOf = (type: Followed) => `type.googleapis.com/${ANSWERED[type].typeName}`
const ofUrl = new Map(FOLLOWED.map((type) => [urlOf(type), type]))

export class DeltaClient {
  /** Everything held of a type, by name. */
  readonly held: Readonly<Record<Followed, Map<string, JsonValue>>>
  private readonly asked = { endpoints: new Set<string>(), routes: new Set<string>() }
  private readonly answered = new Set<Followed>()
  private failure: Error | null = null
  private readonly client: Client
  private readonly stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

  constructor(address: string, proxy: ProxyDescription) {
    const empty = FOLLOWED.map((type) => [type, new Map<string, JsonValue>()] as const)
    this.held = Object.fromEntries(empty) as Record<Followed, Map<string, JsonValue>>
    this.client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 })
    this.stream = this.client.makeBidiStreamRequest(
      '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
      (request: DeltaDiscoveryRequest) => Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)),
      (bytes: Buffer) => fromBinary(DeltaDiscoveryResponseSchema, bytes),
    )
    this.stream.on('error', (error: Error) => {
      this.failure = error
    })
    this.stream.on('data', (response: DeltaDiscoveryResponse) => this.take(response))
    const node = nodeMessageOf(proxy)
    for (const type of ['clusters', 'listeners', 'names'] as const) this.send(type, { node })
  }

  /** Everything that was asked for has come. Throws when the stream has ended. */
  get quiet(): boolean {
    if (this.failure) throw this.failure
    const named = (['endpoints', 'routes'] as const).every((type) =>
      [...this.asked[type]].every((name) => this.held[type].has(name)),
    )
    return named && this.answered.has('clusters') && this.answered.has('listeners') && this.answered.has('names')
  }

  close(): void {
    this.stream.cancel()
    this.client.close()
  }

  private send(type: Followed, request: Partial<DeltaDiscoveryRequest>): void {
    this.stream.write(create(DeltaDiscoveryRequestSchema, { typeUrl: urlOf(type), ...request } as never))
  }

  private take({ typeUrl, nonce, resources, removedResources }: DeltaDiscoveryResponse): void {
    const type = ofUrl.get(typeUrl)!
    this.answered.add(type)
    const held = this.held[type]
    const schema: DescMessage = ANSWERED[type]
    // What was asked for no longer may be on its way still.
    const wanted = type === 'endpoints' || type === 'routes' ? this.asked[type] : null
    for (const { name, resource } of resources) {
      if (wanted?.has(name) ?? true) held.set(name, messageJson(schema, anyUnpack(resource!, schema)!))
    }
    for (const name of removedResources) held.delete(name)
    this.send(type, { responseNonce: nonce })
    if (type === 'clusters') this.follow('endpoints', edsNames([...held.values()]))
    if (type === 'listeners') this.follow('routes', stringsCalled([...held.values()], 'routeConfigName'))
  }

  private follow(type: 'endpoints' | 'routes', names: readonly string[]): void {
    const wanted = new Set(names)
    const asked = this.asked[type]
    const resourceNamesSubscribe = names.filter((name) => !asked.has(name))
    const resourceNamesUnsubscribe = [...asked].filter((name) => !wanted.has(name))
    for (const name of resourceNamesSubscribe) asked.add(name)
    for (const name of resourceNamesUnsubscribe) {
      asked.delete(name)
      this.held[type].delete(name)
    }
    if (resourceNamesSubscribe.length + resourceNamesUnsubscribe.length > 0)
      this.send(type, { resourceNamesSubscribe, resourceNamesUnsubscribe })
  }
}

function edsNames(clusters: readonly JsonValue[]): string[] {
  return clusters.filter((cluster) => field(cluster, 'type') === 'EDS').map((cluster) => String(field(cluster, 'name')))
}

// Health of a workload outside Kubernetes, told to the control plane on the proxy's own ADS stream (istio-contract 13.3):
// requests of a type that is no subscription, without an error for "well" and with one for "not well".
import { create, toBinary } from '@bufbuild/protobuf'
import type { Client } from '@grpc/grpc-js'
import {
  DeltaDiscoveryRequestSchema,
  DiscoveryRequestSchema,
} from '../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { GRPC_STATUS } from '../base/grpc-status.ts'

const HEALTH_TYPE = 'type.googleapis.com/istio.v1.HealthInformation'

/** What is told: null for a workload that is well, else why it is not. */
export type HealthProblem = string | null

/** The part of a gRPC client that ADS streams need. */
type StreamClient = Pick<Client, 'makeBidiStreamRequest' | 'close'>
interface Followed {
  readonly stream: Stream
  readonly delta: boolean
  open: boolean
}
interface Stream {
  write(message: unknown): boolean
  on(event: 'error' | 'end' | 'close', listener: () => void): unknown
}

/**
 * Joins reports into ADS streams. Life: {@link wrap} the client of every stream; {@link report} whenever the health
 * changes. A new stream is told the last known health, once the proxy has said who it is.
 */
export class HealthReports {
  private last: HealthProblem | undefined
  private stream: Followed | null = null

  /** A client whose streams carry reports too. */
  wrap<C extends StreamClient>(client: C): C {
    const open: StreamClient['makeBidiStreamRequest'] = <Request, Response>(
      path: string,
      serialize: (message: Request) => Buffer,
      deserialize: (bytes: Buffer) => Response,
      ...more: never[]
    ) => {
      let introduced = false
      const call = (client.makeBidiStreamRequest as (...all: unknown[]) => ReturnType<typeof open>)(
        path,
        (message: Request) => {
          // Reports are bytes already; everything else is the proxy's.
          if (message instanceof Report) return message.bytes
          if (!introduced) {
            introduced = true
            // After this message, which names the node.
            setImmediate(() => this.tell(followed))
          }
          return serialize(message)
        },
        deserialize,
        ...more,
      )
      const followed = this.follow(call as unknown as Stream, path.endsWith('DeltaAggregatedResources'))
      return call as never
    }
    return new Proxy(client, {
      get: (target, key) => {
        if (key === 'makeBidiStreamRequest') return open
        const value: unknown = Reflect.get(target, key)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  report(problem: HealthProblem): void {
    this.last = problem
    if (this.stream) this.tell(this.stream)
  }

  private follow(stream: Stream, delta: boolean): Followed {
    // Until it is introduced nothing may be told on it.
    this.stream = null
    const followed: Followed = { stream, delta, open: true }
    const gone = () => {
      followed.open = false
    }
    stream.on('error', gone)
    stream.on('end', gone)
    stream.on('close', gone)
    return followed
  }

  private tell(followed: Followed): void {
    if (!followed.open) return
    this.stream = followed
    if (this.last !== undefined) followed.stream.write(new Report(this.last, followed.delta))
  }
}

class Report {
  readonly bytes: Buffer

  constructor(problem: HealthProblem, delta: boolean) {
    const errorDetail = problem === null ? undefined : { code: GRPC_STATUS.INTERNAL, message: problem }
    const request = { typeUrl: HEALTH_TYPE, errorDetail }
    this.bytes = Buffer.from(
      delta
        ? toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, request))
        : toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, request)),
    )
  }
}

// What filters count of the gRPC calls to a cluster: `cluster.<c>.grpc.<service>.<method>.*` and the like.

import type { Scope } from '../../observe/stats.ts'

export interface MethodName {
  readonly service: string
  readonly method: string
}

/** Of `/service/method`: empty segments are none, and there are exactly two; null = it is no such path. */
export function methodOfPath(path: string): MethodName | null {
  const end = path.indexOf('?')
  const [service, method, more] = (end < 0 ? path : path.slice(0, end)).split('/').filter((part) => part !== '')
  return service === undefined || method === undefined || more !== undefined ? null : { service, method }
}

/** No counter. */
const TIME = 'upstream_rq_time'
/** Every status that gRPC has: 0 to 16. */
const STATUSES: ReadonlySet<string> = new Set(Array.from({ length: 17 }, (_, status) => String(status)))

export class GrpcCallStats {
  private readonly scope: Scope
  private readonly prefix: string

  /** `protocol`: `grpc` or `grpc-web`. Without a method, or with one too many, all are counted together. */
  constructor(scope: Scope, protocol: string, name: MethodName | null) {
    this.scope = scope
    const of = name === null ? protocol : `${protocol}.${name.service}.${name.method}`
    this.prefix = name === null || !scope.admits(of) ? `${protocol}.` : `${of}.`
  }

  /** By the header `grpc-status`, of which nobody says that it is a status of gRPC; what has none is not counted. */
  countStatus(status: string | undefined): void {
    if (status === undefined) return
    const name = `${this.prefix}${status}`
    const mayCount = STATUSES.has(status) || (!status.endsWith(TIME) && this.scope.admits(name))
    this.scope.counter(mayCount ? name : `${this.prefix}other`).inc()
    this.countSuccess(status === '0')
  }

  countSuccess(success: boolean): void {
    this.scope.counter(`${this.prefix}${success ? 'success' : 'failure'}`).inc()
    this.scope.counter(`${this.prefix}total`).inc()
  }

  countRequestMessages(count: number): void {
    this.scope.counter(`${this.prefix}request_message_count`).add(count)
  }

  countResponseMessages(count: number): void {
    this.scope.counter(`${this.prefix}response_message_count`).add(count)
  }

  recordUpstreamTime(ms: number): void {
    this.scope.histogram(this.prefix + TIME, 'ms').record(ms)
  }
}

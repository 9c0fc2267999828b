// envoy.filters.network.echo: writes back what it reads.

import { EchoSchema } from '../../../../api/gen/envoy/extensions/filters/network/echo/v3/echo_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import type { Connection } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter } from '../../../network/filter.ts'

class EchoFilter implements NetworkFilter {
  private readonly connection: Connection
  constructor(connection: Connection) {
    this.connection = connection
  }
  onNewConnection(): FilterStatus {
    return FilterStatus.Continue
  }
  onData(chunk: Buffer, endStream: boolean): FilterStatus {
    this.connection.write(chunk, endStream)
    return FilterStatus.StopIteration
  }
  onEvent(): void {}
  onAboveWriteBufferHighWatermark(): void {
    this.connection.readDisable(true)
  }
  onBelowWriteBufferLowWatermark(): void {
    this.connection.readDisable(false)
  }
}

export const echo: NetworkFilterExtension = {
  name: 'envoy.filters.network.echo',
  desc: EchoSchema,
  parse: () => ({}),
  create: () => (callbacks) => new EchoFilter(callbacks.connection),
  terminal: true,
}

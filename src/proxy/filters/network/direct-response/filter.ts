// envoy.filters.network.direct_response: writes a fixed answer and closes.

import {
  type Config,
  ConfigSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/direct_response/v3/config_pb.js'
import { readDataSource } from '../../../config/data-source.ts'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import { CloseType, type Connection } from '../../../network/connection.ts'
import { FilterStatus, type NetworkFilter } from '../../../network/filter.ts'

interface DirectResponseConfig {
  readonly response: Uint8Array
}

class DirectResponseFilter implements NetworkFilter {
  private readonly connection: Connection
  private readonly response: Buffer
  constructor(connection: Connection, response: Buffer) {
    this.connection = connection
    this.response = response
  }
  onNewConnection(): FilterStatus {
    this.connection.write(this.response, false)
    this.connection.close(CloseType.FlushWrite, 'direct_response')
    return FilterStatus.StopIteration
  }
  onData(): FilterStatus {
    return FilterStatus.StopIteration
  }
  onEvent(): void {}
}

export const directResponse: NetworkFilterExtension<DirectResponseConfig> = {
  name: 'envoy.filters.network.direct_response',
  desc: ConfigSchema,
  parse: (message, context) => {
    const { response } = message as Config
    return { response: response ? readDataSource(response, context.at('response').path) : new Uint8Array(0) }
  },
  create: (config) => {
    const response = Buffer.from(config.response)
    return (callbacks) => new DirectResponseFilter(callbacks.connection, response)
  },
  terminal: true,
}

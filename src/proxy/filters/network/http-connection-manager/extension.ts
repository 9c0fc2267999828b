import {
  type HttpConnectionManager as HttpConnectionManagerMessage,
  HttpConnectionManagerSchema,
} from '../../../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import type { HcmConfig } from '../../../http/connection-manager/config.ts'
import { ConnectionManager } from '../../../http/connection-manager/connection-manager.ts'
import { SharedState } from '../../../http/connection-manager/shared.ts'
import { parseHttpConnectionManager } from './config.ts'

export const httpConnectionManager: NetworkFilterExtension<HcmConfig> = {
  name: 'envoy.filters.network.http_connection_manager',
  desc: HttpConnectionManagerSchema,
  terminal: true,
  parse: (message, context) => parseHttpConnectionManager(message as HttpConnectionManagerMessage, context),
  create: (config, context) => {
    const shared = new SharedState(config, context)
    return (callbacks) => new ConnectionManager(shared, callbacks)
  },
}

import {
  type TcpProxy,
  TcpProxySchema,
} from '../../../../api/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { NetworkFilterExtension } from '../../../config/extension.ts'
import { parseTcpProxy, type TcpProxyConfig } from './config.ts'
import { createTcpProxy } from './filter.ts'

export const tcpProxy: NetworkFilterExtension<TcpProxyConfig> = {
  name: 'envoy.filters.network.tcp_proxy',
  desc: TcpProxySchema,
  parse: (message, context) => parseTcpProxy(message as TcpProxy, context),
  create: createTcpProxy,
  terminal: true,
}

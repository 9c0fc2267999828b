// envoy.filters.http.buffer: configuration.

import {
  type Buffer as BufferMessage,
  type BufferPerRoute,
  BufferPerRouteSchema,
  BufferSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/buffer/v3/buffer_pb.js'
import type { HttpFilterExtension } from '../../../config/extension.ts'
import { createBufferFilter } from './filter.ts'

export interface BufferConfig {
  readonly maxRequestBytes: number
}

/** Of a route: another limit, or off. */
export interface BufferRouteConfig {
  readonly disabled: boolean
  readonly maxRequestBytes: number
}

export const bufferFilter: HttpFilterExtension<BufferConfig, BufferRouteConfig> = {
  name: 'envoy.filters.http.buffer',
  upstream: true,
  desc: BufferSchema,
  parse: (message) => ({ maxRequestBytes: (message as BufferMessage).maxRequestBytes ?? 0 }),
  routeDesc: BufferPerRouteSchema,
  parseRoute: (message) => {
    const { override } = message as BufferPerRoute
    return {
      disabled: override.case === 'disabled',
      maxRequestBytes: override.case === 'buffer' ? (override.value.maxRequestBytes ?? 0) : 0,
    }
  },
  create: createBufferFilter,
}

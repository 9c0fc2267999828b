// Extensions as filters: Wasm by name, its configuration comes by ECDS; Lua as it is written.
import { create } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import type { ExtensionConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { ExtensionConfigSourceSchema } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { type Filter, FilterSchema } from '../../api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { LuaSchema } from '../../api/gen/envoy/extensions/filters/http/lua/v3/lua_pb.js'
import {
  type HttpFilter,
  HttpFilterSchema,
} from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { ADS_WITHOUT_TIMEOUT } from '../xds/messages.ts'
import type { Extension } from './extension.ts'

/** RBAC beside Wasm: what an agent puts in the place of a module that it could not fetch. */
const HTTP_TYPES = [
  'type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm',
  'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC',
]
const NETWORK_TYPES = [
  'type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm',
  'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
]

/** The listener waits for the configuration without limit: an extension may be what protects it. */
function discovered(typeUrls: readonly string[]): ExtensionConfigSource {
  return create(ExtensionConfigSourceSchema, { configSource: ADS_WITHOUT_TIMEOUT, typeUrls: [...typeUrls] })
}

export function httpExtensionFilters(extensions: readonly Extension[]): HttpFilter[] {
  return extensions.map(({ resourceName: name, lua }) =>
    lua === null
      ? create(HttpFilterSchema, { name, configType: { case: 'configDiscovery', value: discovered(HTTP_TYPES) } })
      : create(HttpFilterSchema, {
          name,
          configType: {
            case: 'typedConfig',
            value: anyPack(
              LuaSchema,
              create(LuaSchema, { defaultSourceCode: { specifier: { case: 'inlineString', value: lua } } }),
            ),
          },
        }),
  )
}

export function networkExtensionFilters(extensions: readonly Extension[]): Filter[] {
  return extensions.map(({ resourceName: name }) =>
    create(FilterSchema, { name, configType: { case: 'configDiscovery', value: discovered(NETWORK_TYPES) } }),
  )
}

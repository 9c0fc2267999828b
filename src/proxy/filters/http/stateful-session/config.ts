// envoy.filters.http.stateful_session: configuration. Routes may replace it or switch the filter off.

import {
  type StatefulSession,
  type StatefulSessionPerRoute,
  StatefulSessionPerRouteSchema,
  StatefulSessionSchema,
} from '../../../../api/gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import { CookieBasedSessionStateSchema } from '../../../../api/gen/envoy/extensions/http/stateful_session/cookie/v3/cookie_pb.js'
import { HeaderBasedSessionStateSchema } from '../../../../api/gen/envoy/extensions/http/stateful_session/header/v3/header_pb.js'
import { typeNameOf } from '../../../../api/registry.ts'
import { ConfigError } from '../../../../base/errors.ts'
import { durationMsOr } from '../../../config/duration.ts'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import { createStatefulSessionFilter } from './filter.ts'

/** Where a client keeps the address of its host. */
export type SessionPlace =
  | {
      readonly kind: 'cookie'
      readonly name: string
      /** '' = any. */
      readonly path: string
      /** 0 = until the client forgets it. */
      readonly ttlS: number
      readonly attributes: readonly { readonly name: string; readonly value: string }[]
    }
  /** `name` in lower case. */
  | { readonly kind: 'header'; readonly name: string }

export interface StatefulSessionConfig {
  /** null = requests have no session. */
  readonly place: SessionPlace | null
  /** Without its host a request has no host. */
  readonly strict: boolean
  /** The answer to a strict request whose host is gone. */
  readonly statusOnMissingHost: number
  /** '' = nothing is counted. */
  readonly statPrefix: string
}

/** null = off. */
export type StatefulSessionRoute = StatefulSessionConfig | null

export const statefulSessionFilter: HttpFilterExtension<StatefulSessionConfig, StatefulSessionRoute> = {
  name: 'envoy.filters.http.stateful_session',
  desc: StatefulSessionSchema,
  parse: (message, context) => parseSession(message as StatefulSession, context),
  routeDesc: StatefulSessionPerRouteSchema,
  parseRoute: (message, context) => {
    const { override } = message as StatefulSessionPerRoute
    return override.case === 'statefulSession' ? parseSession(override.value, context.at('stateful_session')) : null
  },
  create: createStatefulSessionFilter,
}

const UNAVAILABLE = 503

function parseSession(message: StatefulSession, context: ParseContext): StatefulSessionConfig {
  return {
    place: parsePlace(message, context.at('session_state.typed_config')),
    strict: message.strict,
    statusOnMissingHost: (message.strict && message.statusOnStrictDestinationNotFound) || UNAVAILABLE,
    statPrefix: message.statPrefix,
  }
}

function parsePlace({ sessionState }: StatefulSession, at: ParseContext): SessionPlace | null {
  if (!sessionState) return null
  const any = sessionState.typedConfig
  switch (typeNameOf(any?.typeUrl ?? '')) {
    case CookieBasedSessionStateSchema.typeName: {
      const cookie = at.unpack(any!, CookieBasedSessionStateSchema).cookie!
      return {
        kind: 'cookie',
        name: cookie.name,
        path: cookie.path,
        ttlS: Math.floor(durationMsOr(cookie.ttl, 0) / 1000),
        attributes: cookie.attributes.map(({ name, value }) => ({ name, value })),
      }
    }
    case HeaderBasedSessionStateSchema.typeName:
      return { kind: 'header', name: at.unpack(any!, HeaderBasedSessionStateSchema).name.toLowerCase() }
    default:
      throw new ConfigError(
        at.path,
        `session state ${sessionState.name} (${any?.typeUrl ?? 'no type'}) is not supported by this proxy: use envoy.http.stateful_session.cookie or envoy.http.stateful_session.header`,
      )
  }
}

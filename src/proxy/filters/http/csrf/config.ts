// envoy.filters.http.csrf: configuration; a route has a policy of the same form.

import {
  type CsrfPolicy as CsrfMessage,
  CsrfPolicySchema,
} from '../../../../api/gen/envoy/extensions/filters/http/csrf/v3/csrf_pb.js'
import type { HttpFilterExtension, ParseContext } from '../../../config/extension.ts'
import type { FractionData } from '../../../route/config.ts'
import { parseFraction } from '../../../route/parse-common.ts'
import { parseStringMatcher, type StringMatcherData } from '../../../route/string-matcher.ts'
import { createCsrfFilter } from './filter.ts'

export interface CsrfConfig {
  readonly enabled: FractionData
  /** null = never. */
  readonly shadowEnabled: FractionData | null
  readonly additionalOrigins: readonly StringMatcherData[]
}

const parse = (message: unknown, context: ParseContext): CsrfConfig => {
  const { filterEnabled, shadowEnabled, additionalOrigins } = message as CsrfMessage
  return {
    enabled: parseFraction(filterEnabled)!,
    shadowEnabled: parseFraction(shadowEnabled),
    additionalOrigins: additionalOrigins.map((matcher, i) =>
      parseStringMatcher(matcher, context.at(`additional_origins[${i}]`).path),
    ),
  }
}

export const csrfFilter: HttpFilterExtension<CsrfConfig, CsrfConfig> = {
  name: 'envoy.filters.http.csrf',
  desc: CsrfPolicySchema,
  parse,
  routeDesc: CsrfPolicySchema,
  parseRoute: parse,
  create: createCsrfFilter,
}

// envoy.filters.http.match_delegate (ExtensionWithMatcher): a filter that a matcher may leave out of a stream.

import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { MatcherSchema as OldMatcherSchema } from '../../../../api/gen/envoy/config/common/matcher/v3/matcher_pb.js'
import {
  type ExtensionWithMatcher,
  ExtensionWithMatcherSchema,
} from '../../../../api/gen/envoy/extensions/common/matching/v3/extension_matcher_pb.js'
import { SkipFilterSchema } from '../../../../api/gen/envoy/extensions/filters/common/matcher/action/v3/skip_action_pb.js'
import type { TypedExtensionConfig } from '../../../../api/gen/xds/core/v3/extension_pb.js'
import { type Matcher, MatcherSchema } from '../../../../api/gen/xds/type/matcher/v3/matcher_pb.js'
import { typeNameOf } from '../../../../api/registry.ts'
import { ConfigError } from '../../../../base/errors.ts'
import type { HttpFilterExtension, ParseContext, ParsedExtension } from '../../../config/extension.ts'
import { type MatcherData, parseMatcher } from '../../../matching/config.ts'
import { DELEGATE_INPUTS } from '../../../matching/inputs.ts'
import { createMatchDelegate } from './filter.ts'

export interface MatchDelegateConfig {
  readonly filter: ParsedExtension
  /** null = the filter is always there. */
  readonly matcher: MatcherData<typeof SKIP> | null
}

/** The only action. */
export const SKIP = 'skip'

function parseMatchDelegate(message: ExtensionWithMatcher, context: ParseContext): MatchDelegateConfig {
  const inner = message.extensionConfig
  const matcher = chosenMatcher(message)
  return {
    filter: context.at('extension_config.typed_config').parseAny('http_filter', inner?.typedConfig, inner?.name ?? ''),
    matcher:
      matcher &&
      parseMatcher(
        matcher,
        { inputs: DELEGATE_INPUTS, action: parseAction },
        context.at(message.xdsMatcher ? 'xds_matcher' : 'matcher'),
      ),
  }
}

/** The older field has a message of its own with the same fields. */
function chosenMatcher({ matcher, xdsMatcher }: ExtensionWithMatcher): Matcher | null {
  if (xdsMatcher) return xdsMatcher
  return matcher ? fromBinary(MatcherSchema, toBinary(OldMatcherSchema, matcher)) : null
}

function parseAction({ name, typedConfig }: TypedExtensionConfig, context: ParseContext): typeof SKIP {
  const type = typeNameOf(typedConfig?.typeUrl ?? '')
  if (type === SkipFilterSchema.typeName) return SKIP
  throw new ConfigError(
    context.path,
    `action "${name}" of type ${type || '(empty)'} is not supported by this proxy; ${SkipFilterSchema.typeName} is`,
  )
}

export const matchDelegateFilter: HttpFilterExtension<MatchDelegateConfig> = {
  name: 'envoy.filters.http.match_delegate',
  desc: ExtensionWithMatcherSchema,
  parse: (message, context) => parseMatchDelegate(message as ExtensionWithMatcher, context),
  create: createMatchDelegate,
}

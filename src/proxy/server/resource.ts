// Resources as they arrive: decoded, checked, and kept for /config_dump.

import { create, type DescMessage, fromBinary, type Message, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { DumpedError, DumpedResource } from '../admin/source.ts'
import { durationMsOr } from '../config/duration.ts'
import { findUnknownField } from '../config/unknown-fields.ts'
import { checkRules } from '../config/validate-rules.ts'
import type { Counter, Scope } from '../observe/stats.ts'

/** A resource in transit: from xDS or from the bootstrap. */
export interface IncomingResource {
  readonly name: string
  /** '' for static ones. */
  readonly version: string
  readonly body: Uint8Array
}

/** Some hundred stats carry a resource's name: one of megabytes would fill the memory a hundred times over. */
const MAX_NAME_LENGTH = 64 * 1024

/** Decodes and checks validate.rules. Throws ConfigError. */
export function decodeResource<Desc extends DescMessage>(desc: Desc, resource: IncomingResource): MessageShape<Desc> {
  const { length } = resource.name
  if (length > MAX_NAME_LENGTH)
    throw new ConfigError('', `its name has ${length} characters, more than ${MAX_NAME_LENGTH}`)
  let message: MessageShape<Desc>
  try {
    message = fromBinary(desc, resource.body)
  } catch (error) {
    throw new ConfigError('', `does not decode as ${desc.typeName}: ${errorText(error)}`, { cause: error })
  }
  checkRules(desc, message, '')
  return message
}

/** What to do about fields of dynamic resources that we do not know (--reject-unknown-dynamic-fields). */
export class UnknownFields {
  private readonly reject: boolean
  private readonly count: Counter
  private readonly log: Logger

  constructor(reject: boolean, stats: Scope, log: Logger) {
    this.reject = reject
    this.count = stats.scope('server').counter('dynamic_unknown_fields')
    this.log = log
  }

  /** True when there is none; else throws ConfigError, or counts and warns. */
  check(desc: DescMessage, message: Message, name: string): boolean {
    const field = findUnknownField(desc, message)
    if (field === null) return true
    if (this.reject) throw new ConfigError('', `unknown field of ${desc.typeName}: ${field}`)
    this.count.inc()
    this.log.warn({ resource: name, field }, 'unknown field ignored')
    return false
  }
}

export function staticResource<Desc extends DescMessage>(
  desc: Desc,
  name: string,
  message: MessageShape<Desc>,
): IncomingResource {
  return { name, version: '', body: toBinary(desc, message) }
}

export function anyOf(desc: DescMessage, body: Uint8Array): Any {
  return create(AnySchema, { typeUrl: `type.googleapis.com/${desc.typeName}`, value: body })
}

export function dumped(desc: DescMessage, resource: IncomingResource, error?: DumpedError): DumpedResource {
  return {
    name: resource.name,
    resource: anyOf(desc, resource.body),
    versionInfo: resource.version,
    lastUpdated: new Date(),
    ...(error ? { error } : {}),
  }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const DEFAULT_FETCH_TIMEOUT_MS = 15_000

/** initial_fetch_timeout: 15 s unless set, 0 = for ever. */
export function fetchTimeoutMs(source: ConfigSource | undefined): number {
  return durationMsOr(source?.initialFetchTimeout, DEFAULT_FETCH_TIMEOUT_MS)
}

/** All refusals of one response, as one NACK reason; null = none. */
export function joinErrors(errors: readonly string[]): string | null {
  return errors.length === 0 ? null : errors.join('\n')
}

// log_format of the loggers: parsed to plain data, compiled to a line writer.

import type { JsonObject } from '@bufbuild/protobuf'
import type { SubstitutionFormatString } from '../../../api/gen/envoy/config/core/v3/substitution_format_string_pb.js'
import { SubstitutionFormatStringSchema } from '../../../api/gen/envoy/config/core/v3/substitution_format_string_pb.js'
import { ConfigError } from '../../../base/errors.ts'
import { readDataSource } from '../../config/data-source.ts'
import { refuseUnsupported } from '../../config/supported-fields.ts'
import type { LogContext } from '../../observe/access-log.ts'
import { JsonFormat, type JsonTemplate } from '../../observe/format/json-format.ts'
import type { LineBuffer } from '../../observe/format/line-buffer.ts'
import { DEFAULT_LOG_FORMAT, TextFormat } from '../../observe/format/text-format.ts'

/** What a logger prints. */
export type LogFormatData =
  | { readonly kind: 'text'; readonly format: string; readonly omitEmptyValues: boolean }
  | {
      readonly kind: 'json'
      readonly template: Readonly<Record<string, JsonTemplate>>
      readonly omitEmptyValues: boolean
    }

/** Renders one line with its newline, into a buffer or as a byte string. */
export interface LineFormat {
  write(context: LogContext, out: LineBuffer): void
  format(context: LogContext): string
}

export const defaultFormat: LogFormatData = { kind: 'text', format: DEFAULT_LOG_FORMAT, omitEmptyValues: false }

// Keys are always sorted and the content type matters to HTTP bodies only: both options say what already holds.
const SUPPORTED = new Set([
  'text_format',
  'text_format_source',
  'json_format',
  'omit_empty_values',
  'content_type',
  'json_format_options',
])

/** Parses log_format; undefined gives Envoy's default. Throws ConfigError, for a bad format string too. */
export function parseLogFormat(message: SubstitutionFormatString | undefined, path: string): LogFormatData {
  if (!message) return defaultFormat
  refuseUnsupported(SubstitutionFormatStringSchema, message, SUPPORTED, path)
  const omitEmptyValues = message.omitEmptyValues
  const format = message.format
  switch (format.case) {
    case 'textFormat':
      return checked({ kind: 'text', format: format.value, omitEmptyValues }, `${path}.text_format`)
    case 'textFormatSource': {
      const text = readDataSource(format.value, `${path}.text_format_source`).toString('utf8')
      return checked({ kind: 'text', format: text, omitEmptyValues }, `${path}.text_format_source`)
    }
    case 'jsonFormat':
      return parseJsonFormat(format.value, omitEmptyValues, `${path}.json_format`)
    default:
      throw new ConfigError(path, 'one of text_format, text_format_source or json_format is required')
  }
}

/** json_format as the loggers carry it. */
export function parseJsonFormat(template: JsonObject, omitEmptyValues: boolean, path: string): LogFormatData {
  return checked({ kind: 'json', template: template as Record<string, JsonTemplate>, omitEmptyValues }, path)
}

/** A text format that stands outside log_format. */
export function parseTextFormat(format: string, path: string): LogFormatData {
  return checked({ kind: 'text', format, omitEmptyValues: false }, path)
}

/** Compiles once where the configuration is parsed, so that errors show up there. */
function checked(data: LogFormatData, path: string): LogFormatData {
  compileLogFormat(data, path)
  return data
}

export function compileLogFormat(data: LogFormatData, path = ''): LineFormat {
  return data.kind === 'text'
    ? new TextFormat(data.format, data.omitEmptyValues, path)
    : new JsonFormat(data.template, data.omitEmptyValues, path)
}

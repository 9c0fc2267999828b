// The access loggers: envoy.access_loggers.file, .stdout and .stderr. They differ in the file only.

import type { DescMessage, Message } from '@bufbuild/protobuf'
import {
  type FileAccessLog,
  FileAccessLogSchema,
} from '../../../api/gen/envoy/extensions/access_loggers/file/v3/file_pb.js'
import {
  type StderrAccessLog,
  StderrAccessLogSchema,
  type StdoutAccessLog,
  StdoutAccessLogSchema,
} from '../../../api/gen/envoy/extensions/access_loggers/stream/v3/stream_pb.js'
import type { ParseContext } from '../../config/extension.ts'
import type { LogFormatData } from './log-format.ts'
import { defaultFormat, parseJsonFormat, parseLogFormat, parseTextFormat } from './log-format.ts'

/** Plain data of a logger: which file, which format. */
export interface FileLoggerConfig {
  readonly path: string
  readonly format: LogFormatData
}

/** One kind of logger, for the extension registry. */
export interface AccessLoggerExtension {
  readonly name: string
  readonly desc: DescMessage
  parse(message: Message, context: ParseContext): FileLoggerConfig
}

const fileLogger: AccessLoggerExtension = {
  name: 'envoy.access_loggers.file',
  desc: FileAccessLogSchema,
  parse(message, context) {
    const { path, accessLogFormat } = message as FileAccessLog
    return { path, format: fileFormat(accessLogFormat, context) }
  },
}

/** Three of the four ways to give a format are older than log_format. */
function fileFormat(format: FileAccessLog['accessLogFormat'], context: ParseContext): LogFormatData {
  switch (format.case) {
    case 'logFormat':
      return parseLogFormat(format.value, context.at('log_format').path)
    case 'format':
      return format.value === '' ? defaultFormat : parseTextFormat(format.value, context.at('format').path)
    case 'jsonFormat':
      return parseJsonFormat(format.value, false, context.at('json_format').path)
    case 'typedJsonFormat':
      return parseJsonFormat(format.value, false, context.at('typed_json_format').path)
    default:
      return defaultFormat
  }
}

function streamLogger(name: string, desc: DescMessage, path: string): AccessLoggerExtension {
  return {
    name,
    desc,
    parse(message, context) {
      const format = (message as StdoutAccessLog | StderrAccessLog).accessLogFormat
      return {
        path,
        format:
          format.case === 'logFormat' ? parseLogFormat(format.value, context.at('log_format').path) : defaultFormat,
      }
    },
  }
}

/** Every access logger of this build; category `access_logger`. */
export const ACCESS_LOGGERS: readonly AccessLoggerExtension[] = [
  fileLogger,
  streamLogger('envoy.access_loggers.stdout', StdoutAccessLogSchema, '/dev/stdout'),
  streamLogger('envoy.access_loggers.stderr', StderrAccessLogSchema, '/dev/stderr'),
]

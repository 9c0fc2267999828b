// An access_log entry: its filter and its logger.

import {
  type AccessLog as AccessLogMessage,
  AccessLogSchema,
} from '../../api/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import type { ParseContext, ParsedExtension } from '../config/extension.ts'
import { refuseUnsupported } from '../config/supported-fields.ts'
import { type LogFilterData, parseLogFilter } from './access-log-filter.ts'

/** Plain data of one access_log entry; `config` inside ParsedExtension. */
export interface AccessLogConfig {
  readonly filter: LogFilterData | null
  readonly logger: ParsedExtension
}

const SUPPORTED = new Set(['name', 'filter', 'typed_config'])

/** Parses one access_log entry. Throws ConfigError. */
export function parseAccessLog(log: AccessLogMessage, context: ParseContext): ParsedExtension<AccessLogConfig> {
  refuseUnsupported(AccessLogSchema, log, SUPPORTED, context.path)
  const logger = context.at('typed_config').parseAny('access_logger', log.configType.value, log.name)
  const filter = log.filter ? parseLogFilter(log.filter, context.at('filter')) : null
  return { name: log.name, typeUrl: logger.typeUrl, config: { filter, logger } }
}

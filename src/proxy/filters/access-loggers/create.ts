// Makes what runs, in a worker, of a parsed access_log entry.

import type { ParsedExtension, RuntimeSnapshot } from '../../config/extension.ts'
import type { AccessLog, LogContext } from '../../observe/access-log.ts'
import type { AccessLogConfig } from '../../observe/access-log-config.ts'
import type { AccessLogFile, AccessLogFiles } from '../../observe/access-log-file.ts'
import { compileLogFilter, type LogFilter } from '../../observe/access-log-filter.ts'
import { compileLogFormat, type LineFormat } from './log-format.ts'
import type { FileLoggerConfig } from './loggers.ts'

class FileAccessLog implements AccessLog {
  private readonly filter: LogFilter | null
  private readonly line: LineFormat
  private readonly file: AccessLogFile
  constructor(filter: LogFilter | null, line: LineFormat, file: AccessLogFile) {
    this.filter = filter
    this.line = line
    this.file = file
  }
  log(context: LogContext): void {
    if (this.filter !== null && !this.filter(context)) return
    this.line.write(context, this.file.beginLine())
    this.file.endLine()
  }
}

/** WorkerContext.createAccessLog. Throws when the file cannot be opened. */
export function createAccessLog(parsed: ParsedExtension, files: AccessLogFiles, runtime: RuntimeSnapshot): AccessLog {
  const { filter, logger } = parsed.config as AccessLogConfig
  const { path, format } = logger.config as FileLoggerConfig
  return new FileAccessLog(
    filter ? compileLogFilter(filter, runtime) : null,
    compileLogFormat(format),
    files.open(path),
  )
}

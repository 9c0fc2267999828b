// envoy.config.core.v3.DataSource: bytes in a file, inline or in the environment.

import { readFileSync } from 'node:fs'
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'

/** Where it stands, as Envoy's pages say it: the file, or `<inline>`; '' = there is none. */
export function dataSourceOrigin(source: DataSource | undefined): string {
  if (source === undefined) return ''
  return source.specifier.case === 'filename' ? source.specifier.value : '<inline>'
}

/** Reads it now. Throws ConfigError when it is empty, the file is unreadable or the variable is unset. */
export function readDataSource(source: DataSource, path: string): Buffer {
  if (source.watchedDirectory)
    throw new ConfigError(
      `${path}.watched_directory`,
      'not supported by this proxy: the file is read once; remove the field',
    )
  const from = source.specifier
  switch (from.case) {
    case 'filename':
      try {
        return readFileSync(from.value)
      } catch (error) {
        throw new ConfigError(`${path}.filename`, `Invalid path: ${from.value} (${errorText(error)})`, { cause: error })
      }
    case 'inlineBytes':
      return Buffer.from(from.value)
    case 'inlineString':
      return Buffer.from(from.value, 'utf8')
    case 'environmentVariable': {
      const value = process.env[from.value]
      if (value === undefined) throw new ConfigError(`${path}.environment_variable`, `${from.value} is not set`)
      return Buffer.from(value, 'utf8')
    }
    default:
      throw new ConfigError(path, 'needs one of filename, inline_bytes, inline_string, environment_variable')
  }
}

// Resources from a file (path_config_source): read at start, and again whenever the file is replaced or written.

import { type FSWatcher, readFileSync, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import type { ConfigSource } from '../../api/gen/envoy/config/core/v3/config_source_pb.js'
import { DiscoveryResponseSchema } from '../../api/gen/envoy/service/discovery/v3/discovery_pb.js'
import { messageType, typeNameOf } from '../../api/registry.ts'
import { ConfigError, errorText } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import { parseJson } from '../config/json.ts'
import { parseEnvoyYaml } from '../config/yaml.ts'
import type { IncomingResource } from './resource.ts'

/** Everything that the file holds now; returns why it is refused, or null. */
export type FileHandler = (
  resources: readonly IncomingResource[],
  version: string,
) => Promise<string | null> | string | null

/** What is counted of a file. */
export interface FileStats {
  /** It is read again. */
  attempt?(): void
  /** It cannot be read. */
  failure?(): void
}

/** Several writes of one replacement come as several events. */
const SETTLE_MS = 20

/** path_config_source, or the deprecated `path`; null for other kinds of source. */
export function filePath(source: ConfigSource | undefined): string | null {
  const specifier = source?.configSourceSpecifier
  if (specifier?.case === 'pathConfigSource') return specifier.value.path
  return specifier?.case === 'path' ? specifier.value : null
}

/** Every file that some resource comes from; each is watched once for each kind of handler. */
export class FileSources {
  private readonly log: Logger
  private readonly watched = new Map<string, FileSource>()

  constructor(log: Logger) {
    this.log = log
  }

  /**
   * `kind` tells handlers of one file apart: the first one of a kind stays. Returns what ends it. Throws ConfigError when
   * the file cannot be read or parsed at the start.
   */
  use(kind: string, path: string, handler: FileHandler, stats: FileStats = {}): () => void {
    const key = `${kind} ${path}`
    let source = this.watched.get(key)
    if (source === undefined) {
      source = new FileSource(path, handler, this.log, stats)
      source.start()
      this.watched.set(key, source)
    }
    const used = source
    return () => {
      used.close()
      if (this.watched.get(key) === used) this.watched.delete(key)
    }
  }

  close(): void {
    for (const source of this.watched.values()) source.close()
    this.watched.clear()
  }
}

class FileSource {
  private readonly path: string
  private readonly handler: FileHandler
  private readonly log: Logger
  private readonly stats: FileStats
  private watcher: FSWatcher | null = null
  private timer: NodeJS.Timeout | null = null
  /** What the file holds is handed over version by version: the handler may take longer than the next write. */
  private last: Promise<void> = Promise.resolve()

  constructor(path: string, handler: FileHandler, log: Logger, stats: FileStats) {
    this.path = path
    this.handler = handler
    this.log = log
    this.stats = stats
  }

  start(): void {
    const { resources, version } = readDiscoveryFile(this.path)
    // The directory, not the file: what replaces a file by a rename has another inode.
    this.watcher = watch(dirname(this.path), (_event, name) => {
      // A symbolic link that is swapped (as mounted ConfigMaps do) shows under its own name.
      if (name === null || name === basename(this.path) || name.startsWith('..')) this.reload()
    })
    this.watcher.on('error', (error) =>
      this.log.error({ path: this.path, reason: errorText(error) }, 'file is watched no more'),
    )
    this.hand(resources, version)
  }

  close(): void {
    this.watcher?.close()
    if (this.timer !== null) clearTimeout(this.timer)
  }

  private reload(): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.stats.attempt?.()
      try {
        const { resources, version } = readDiscoveryFile(this.path)
        this.hand(resources, version)
      } catch (error) {
        this.stats.failure?.()
        this.refuse(errorText(error))
      }
    }, SETTLE_MS)
  }

  private hand(resources: readonly IncomingResource[], version: string): void {
    this.last = this.last.then(() => this.handNext(resources, version))
  }

  private async handNext(resources: readonly IncomingResource[], version: string): Promise<void> {
    try {
      const reason = await this.handler(resources, version)
      if (reason !== null) this.refuse(reason)
    } catch (error) {
      this.refuse(errorText(error))
    }
  }

  private refuse(reason: string): void {
    this.log.error({ path: this.path, reason }, 'file refused, the last good configuration stays')
  }
}

/** A DiscoveryResponse as YAML or JSON. Throws ConfigError. */
function readDiscoveryFile(path: string): { resources: IncomingResource[]; version: string } {
  let json: unknown
  try {
    json = parseEnvoyYaml(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new ConfigError(path, errorText(error).split('\n')[0]!, { cause: error })
  }
  const response = parseJson(DiscoveryResponseSchema, json ?? {}, { path })
  const resources = response.resources.map(({ typeUrl, value }, i): IncomingResource => {
    const desc = messageType(typeNameOf(typeUrl))
    if (desc === undefined) throw new ConfigError(`${path}.resources[${i}]`, `unknown type ${typeUrl}`)
    const { name, clusterName } = fromBinary(desc, value) as { name?: string; clusterName?: string }
    return { name: name ?? clusterName ?? '', version: response.versionInfo, body: value }
  })
  return { resources, version: response.versionInfo }
}

// Certificates that a secret names by file: watched, so that a rotation on disk takes effect (envoy-contract §16.4).

import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'

/** Key and certificate are replaced one after the other. */
const SETTLE_MS = 100

/** Directories to watch: watched_directory, else those of the files. */
export function secretDirectories(secret: Secret): ReadonlySet<string> {
  const { type } = secret
  const sources: (DataSource | undefined)[] = []
  let watched: string | undefined
  if (type.case === 'tlsCertificate') {
    sources.push(type.value.certificateChain, type.value.privateKey)
    watched = type.value.watchedDirectory?.path
  } else if (type.case === 'validationContext') {
    sources.push(type.value.trustedCa, type.value.crl)
    watched = type.value.watchedDirectory?.path
  } else if (type.case === 'sessionTicketKeys') sources.push(...type.value.keys)
  const directories = new Set<string>()
  for (const source of sources) {
    if (source?.specifier.case === 'filename') directories.add(watched ?? dirname(source.specifier.value))
  }
  return directories
}

/** Calls `onChange` when something in the directories has changed and settled; returns the function that ends it. */
export function watchDirectories(directories: ReadonlySet<string>, onChange: () => void): () => void {
  let timer: NodeJS.Timeout | null = null
  const changed = (): void => {
    if (timer !== null) clearTimeout(timer)
    timer = setTimeout(onChange, SETTLE_MS)
  }
  const watchers: FSWatcher[] = [...directories].map((directory) => watch(directory, changed))
  // A directory that vanishes takes its watch along; the last good secret stays in force.
  for (const watcher of watchers) watcher.on('error', () => watcher.close())
  return () => {
    if (timer !== null) clearTimeout(timer)
    for (const watcher of watchers) watcher.close()
  }
}

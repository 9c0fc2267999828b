// One file, read again whenever it is written or replaced.
import { watch } from 'node:fs'
import { basename, dirname } from 'node:path'

/** Several writes of one replacement come as several events. */
const SETTLE_MS = 20

/**
 * Calls `changed` some milliseconds after the file was written, replaced or removed, until the returned function is
 * called. Throws when its folder cannot be watched; `failed` is told when watching ends by itself.
 */
export function watchFile(path: string, changed: () => void, failed: (error: Error) => void): () => void {
  let timer: NodeJS.Timeout | undefined
  // The folder, not the file: what replaces a file by a rename has another inode.
  const watcher = watch(dirname(path), (_event, name) => {
    // A symbolic link that is swapped (as mounted ConfigMaps do) shows under its own name.
    if (name !== null && name !== basename(path) && !name.startsWith('..')) return
    clearTimeout(timer)
    timer = setTimeout(changed, SETTLE_MS)
  })
  watcher.on('error', failed)
  return () => {
    clearTimeout(timer)
    watcher.close()
  }
}

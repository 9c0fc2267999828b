// Watches a folder and everything below it, one watch a folder: an event costs the same however many files there are.
// (Node's recursive watch reads the whole folder again for every event.)
import { type FSWatcher, readdirSync, watch } from 'node:fs'
import { join } from 'node:path'

export interface TreeWatchOptions {
  /** Something happened to this path: it appeared, changed or is gone. Null: anything may have. */
  readonly onTouched: (path: string | null) => void
  readonly onError: (error: Error) => void
  /** Folders of such a name are not looked into. */
  readonly skips: (name: string) => boolean
}

/** The name of the link that a mounted ConfigMap or Secret swaps to show its next version. */
const MOUNT_LINK = '..data'

/** Watches from construction to {@link close}. Throws when the folder itself cannot be watched. */
export class TreeWatch {
  private readonly options: TreeWatchOptions
  private readonly watchers = new Map<string, FSWatcher>()

  constructor(dir: string, options: TreeWatchOptions) {
    this.options = options
    this.add(dir)
  }

  close(): void {
    for (const watcher of this.watchers.values()) watcher.close()
    this.watchers.clear()
  }

  /** Watches a folder that appeared, and those in it. Known ones stay as they are. */
  add(dir: string): void {
    if (!this.watchers.has(dir)) {
      const watcher = watch(dir, (_event, name) => this.happened(dir, name))
      watcher.on('error', this.options.onError)
      this.watchers.set(dir, watcher)
    }
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (entry.isDirectory() && !this.options.skips(entry.name)) this.add(join(dir, entry.name))
    }
  }

  /** Ends the watch of a folder that is gone, and of those that were in it. */
  drop(dir: string): void {
    for (const [path, watcher] of this.watchers) {
      if (path !== dir && !path.startsWith(`${dir}/`)) continue
      watcher.close()
      this.watchers.delete(path)
    }
  }

  private happened(dir: string, name: string | null): void {
    this.options.onTouched(name === null || name === MOUNT_LINK ? null : join(dir, name))
  }
}

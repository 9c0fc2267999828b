// A folder of manifests as a store: read, watched, and kept at its last good state file by file.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, extname, join, relative, resolve } from 'node:path'
import { errorText, UserError } from '../base/errors.ts'
import { type ManifestEntry, parseManifest } from './manifest.ts'
import { type GroupKind, groupKindOf, objectKey } from './object.ts'
import { MemoryStore } from './store.ts'
import { TreeWatch } from './tree-watch.ts'

const EXTENSIONS: ReadonlySet<string> = new Set(['.yaml', '.yml', '.json'])
/** Editors write a file in several steps; it is read when it has been still for so long. */
const SETTLE_MS = 2
/** A file that is empty or gone is looked at again after this: it may be about to be replaced. */
const VANISHED_MS = 40

export interface FolderSourceOptions {
  /** Told one line for each file that could not be used; its last good content stays. */
  readonly onProblem: (message: string) => void
  /** A store that others fill too, instead of one of its own: what is there already stays. */
  readonly store?: MemoryStore
  /** Kinds that are taken; every kind when left out. */
  readonly takes?: (kind: GroupKind) => boolean
}

/** Keeps a {@link MemoryStore} equal to a folder's `*.yaml`, `*.yml` and `*.json` files, subfolders included. */
export class FolderSource {
  readonly store: MemoryStore
  private readonly dir: string
  private readonly options: FolderSourceOptions
  /** What each file contributes: object id to entry. */
  private readonly files = new Map<string, ReadonlyMap<string, ManifestEntry>>()
  /** Object id to the file that owns it. */
  private readonly owners = new Map<string, string>()
  /** Some object stands in several files: who owns it may change with any of them. */
  private contested = false
  /** Ids that the changes at hand take from their files. */
  private dropping: ReadonlySet<string> = new Set()
  private readonly timers = new Map<string, NodeJS.Timeout>()
  private readonly complaints = new Map<string, string>()
  private readonly watcher: TreeWatch

  /** Reads the folder and begins to watch it. Throws UserError when it is not a readable folder. */
  constructor(dir: string, options: FolderSourceOptions) {
    this.dir = resolve(dir)
    this.options = options
    this.store = options.store ?? new MemoryStore()
    let isDirectory: boolean
    try {
      isDirectory = statSync(this.dir).isDirectory()
    } catch (error) {
      throw new UserError(`${dir}: ${errorText(error)}`, 1, { cause: error })
    }
    if (!isDirectory) throw new UserError(`${dir} is not a folder; give the folder that holds the manifests`)
    // Watching starts first, so that a change during the first read is not missed.
    this.watcher = new TreeWatch(this.dir, {
      onTouched: (path) => {
        if (path === null) this.rescan()
        else this.touched(path, SETTLE_MS)
      },
      onError: (error) => options.onProblem(`${dir}: watching failed: ${error.message}`),
      skips,
    })
    this.apply(this.list(this.dir))
  }

  stop(): void {
    this.watcher.close()
    for (const timer of this.timers.values()) clearTimeout(timer)
    this.timers.clear()
  }

  private list(dir: string): string[] {
    const found: string[] = []
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      if (skips(entry.name)) continue
      const path = join(dir, entry.name)
      if (entry.isDirectory()) found.push(...this.list(path))
      else if (EXTENSIONS.has(extname(entry.name))) found.push(path)
    }
    return found.sort()
  }

  private rescan(): void {
    for (const path of new Set([...this.list(this.dir), ...this.files.keys()])) this.touched(path, SETTLE_MS)
  }

  private touched(path: string, afterMs: number): void {
    if (skips(basename(path))) return
    if (!EXTENSIONS.has(extname(path))) {
      // A folder that appeared or vanished with its files.
      this.folderTouched(path)
      return
    }
    clearTimeout(this.timers.get(path))
    this.timers.set(
      path,
      setTimeout(() => {
        this.timers.delete(path)
        this.settle(path, afterMs)
      }, afterMs),
    )
  }

  private folderTouched(path: string): void {
    for (const file of this.files.keys()) if (file.startsWith(`${path}/`)) this.touched(file, SETTLE_MS)
    try {
      if (!statSync(path).isDirectory()) return
      this.watcher.add(path)
      for (const file of this.list(path)) this.touched(file, SETTLE_MS)
    } catch {
      // Gone: its files were marked above.
      this.watcher.drop(path)
    }
  }

  private settle(path: string, waitedMs: number): void {
    if (waitedMs === SETTLE_MS && this.files.get(path)?.size && isEmptyOrGone(path)) this.touched(path, VANISHED_MS)
    else this.apply([path])
  }

  /** Reads files and commits what changed as one batch. */
  private apply(paths: readonly string[]): void {
    const dropped = new Set<string>()
    this.dropping = dropped
    for (const path of paths) {
      const entries = this.read(path)
      if (entries === null) continue
      for (const id of this.files.get(path)?.keys() ?? []) {
        if (this.owners.get(id) !== path) continue
        this.owners.delete(id)
        dropped.add(id)
      }
      if (entries.size > 0) this.files.set(path, entries)
      else this.files.delete(path)
    }
    const puts = new Map<string, ManifestEntry>()
    const lost = [...dropped].some((id) => !paths.some((path) => this.files.get(path)?.has(id)))
    const candidates = this.contested || lost ? [...this.files.keys()] : paths.filter((path) => this.files.has(path))
    this.contested = false
    // In file order, so that what a duplicate resolves to does not depend on the order of events.
    for (const path of candidates.sort()) {
      for (const [id, entry] of this.files.get(path)!) {
        const owner = this.owners.get(id)
        if (owner !== undefined && owner !== path) {
          this.contested = true
          this.complain(
            path,
            `${entry.origin.file}:${entry.origin.line}: ${id} is already in ${relative(this.dir, owner)}; this one is ignored`,
          )
          continue
        }
        if (owner === path && !paths.includes(path)) continue
        if (owner === undefined && this.isForeign(id)) {
          this.complain(
            path,
            `${entry.origin.file}:${entry.origin.line}: ${id} comes from elsewhere; this one is ignored`,
          )
          continue
        }
        this.owners.set(id, path)
        puts.set(id, entry)
      }
    }
    const removals = [...dropped].filter((id) => !this.owners.has(id)).map(parseId)
    this.store.commit(
      [...puts.values()].map((entry) => this.withStatus(entry)),
      removals,
    )
  }

  /** In a shared store: somebody else put it there. (What was dropped just now is still there, and ours.) */
  private isForeign(id: string): boolean {
    if (this.options.store === undefined || this.dropping.has(id)) return false
    const { kind, namespace, name } = parseId(id)
    return this.store.get(kind, namespace, name) !== undefined
  }

  /** A file says what should be; a status that was written since stays. */
  private withStatus({ object, origin }: ManifestEntry): ManifestEntry {
    const { namespace, name } = object.metadata
    const status = object.status ?? this.store.get(groupKindOf(object), namespace, name)?.status
    return { object: status === undefined ? object : { ...object, status }, origin }
  }

  /** The file's objects by id; null when it cannot be used and its last good content stays. */
  private read(path: string): ReadonlyMap<string, ManifestEntry> | null {
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
      this.complain(path, `${relative(this.dir, path)}: ${errorText(error)}`)
      return null
    }
    const parsed = parseManifest(text, relative(this.dir, path))
    if (!parsed.ok) {
      const { path: at, message, hint } = parsed.problems[0]!
      const kept = this.files.has(path) ? '; its last good content stays' : ''
      this.complain(path, `${at}: ${message}${hint ? ` (${hint})` : ''}${kept}`)
      return null
    }
    this.complaints.delete(path)
    const entries = new Map<string, ManifestEntry>()
    for (const entry of parsed.value) {
      if (this.options.takes && !this.options.takes(groupKindOf(entry.object))) continue
      const id = `${groupKindOf(entry.object)} ${objectKey(entry.object.metadata)}`
      if (entries.has(id))
        this.complain(
          path,
          `${entry.origin.file}:${entry.origin.line}: ${id} stands twice in this file; the last one counts`,
        )
      entries.set(id, entry)
    }
    return entries
  }

  /** Says a thing about a file once, not again with every event. */
  private complain(path: string, message: string): void {
    if (this.complaints.get(path) === message) return
    this.complaints.set(path, message)
    this.options.onProblem(message)
  }
}

/** Hidden files and folders, and installed packages, hold no manifests. */
function skips(name: string): boolean {
  return name.startsWith('.') || name === 'node_modules'
}

function isEmptyOrGone(path: string): boolean {
  try {
    return statSync(path).size === 0
  } catch {
    return true
  }
}

function parseId(id: string): { kind: string; namespace?: string; name: string } {
  const space = id.indexOf(' ')
  const key = id.slice(space + 1)
  const slash = key.indexOf('/')
  const kind = id.slice(0, space)
  return slash < 0 ? { kind, name: key } : { kind, namespace: key.slice(0, slash), name: key.slice(slash + 1) }
}

import { existsSync, type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs'
import { join, resolve } from 'node:path'
import { UserError } from '../base/errors.ts'
import type { FolderFile } from './folder-source.ts'

const MANIFEST = /^[^.].*\.(ya?ml|json)$/
/** Editors write a file in several steps; one look after the last of them is enough. */
const SETTLE_MS = 2
/** How long a file must be empty or gone to be taken for emptied or removed. */
const VANISHED_MS = 100

/** The manifests directly in `dir`: folders inside it hold what is applied on demand. */
export function readFolder(dir: string): FolderFile[] {
  const stat = statSync(dir, { throwIfNoEntry: false })
  if (!stat) throw new UserError(`${dir}: no such file or directory`)
  if (!stat.isDirectory()) throw new UserError(`${dir} is a file; give the folder it is in`)
  const files = readManifestFiles(dir)
  if (files.length === 0) throw new UserError(`${dir}: no .yaml, .yml or .json file in this folder`)
  return files
}

/** The manifests there are; a folder or file that goes while it is read counts as not there. */
function readManifestFiles(dir: string): FolderFile[] {
  const files: FolderFile[] = []
  for (const name of existsSync(dir) ? readdirSync(dir).sort() : []) {
    const file = join(dir, name)
    if (!MANIFEST.test(name)) continue
    try {
      files.push({ file, text: readFileSync(file, 'utf8') })
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'EISDIR') throw error
    }
  }
  return files
}

/** Reads manifests for `apply -f`: a file, or all files directly in a folder. */
export function readFileOrFolder(path: string): FolderFile[] {
  const file = resolve(path)
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat) throw new UserError(`the path "${path}" does not exist`)
  return stat.isDirectory() ? readFolder(file) : [{ file, text: readFileSync(file, 'utf8') }]
}

/** Calls `changed` with the files of `dir` that differ from the last look; removed ones have no text. */
export function watchFolder(
  dir: string,
  first: readonly FolderFile[],
  changed: (files: FolderFile[]) => void,
): FSWatcher {
  const known = new Map(first.map(({ file, text }) => [file, text]))
  /** Files found empty or gone, since when. */
  const vanished = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    const current = new Map(readManifestFiles(dir).map(({ file, text }) => [file, text]))
    const changes: FolderFile[] = []
    for (const file of new Set([...known.keys(), ...current.keys()])) {
      const text = current.get(file)
      if (text === known.get(file)) vanished.delete(file)
      else if (text || stayedAway(vanished, file)) changes.push({ file, text })
    }
    for (const { file, text } of changes) {
      vanished.delete(file)
      if (text === undefined) known.delete(file)
      else known.set(file, text)
    }
    if (vanished.size > 0) lookAfter(VANISHED_MS)
    if (changes.length > 0) changed(changes)
  }
  const lookAfter = (delayMs: number) => {
    clearTimeout(timer)
    timer = setTimeout(look, delayMs)
  }
  const watcher = watch(dir, () => lookAfter(SETTLE_MS))
  watcher.on('close', () => clearTimeout(timer))
  // `first` may have been read a while ago.
  lookAfter(SETTLE_MS)
  return watcher
}

/** Saving empties a file, or takes it away, before the new content is there: only what stays so is meant. */
function stayedAway(vanished: Map<string, number>, file: string): boolean {
  const since = vanished.get(file)
  if (since === undefined) vanished.set(file, performance.now())
  return since !== undefined && performance.now() - since >= VANISHED_MS
}

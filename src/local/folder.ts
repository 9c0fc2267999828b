import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs'
import { join, resolve } from 'node:path'
import { UserError } from '../base/errors.ts'
import type { FolderFile } from './folder-source.ts'

const MANIFEST = /^[^.].*\.(ya?ml|json)$/
/** Editors write a file in several steps; one look after the last of them is enough. */
const SETTLE_MS = 8

/** The manifests directly in `dir`: folders inside it hold what is applied on demand. */
export function readFolder(dir: string): FolderFile[] {
  const stat = statSync(dir, { throwIfNoEntry: false })
  if (!stat) throw new UserError(`${dir}: no such file or directory`)
  if (!stat.isDirectory()) throw new UserError(`${dir} is a file; give the folder it is in`)
  const files: FolderFile[] = []
  for (const name of readdirSync(dir).sort()) {
    const file = join(dir, name)
    if (MANIFEST.test(name) && statSync(file, { throwIfNoEntry: false })?.isFile()) {
      files.push({ file, text: readFileSync(file, 'utf8') })
    }
  }
  if (files.length === 0) throw new UserError(`${dir}: no .yaml, .yml or .json file in this folder`)
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
  let known = new Map(first.map(({ file, text }) => [file, text]))
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    let now: FolderFile[]
    try {
      now = readFolder(dir)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      now = [] // emptied or moved away: what is not there is not wanted
    }
    const current = new Map(now.map(({ file, text }) => [file, text]))
    const different = now.filter(({ file, text }) => known.get(file) !== text)
    const gone = [...known.keys()].filter((file) => !current.has(file)).map((file) => ({ file, text: undefined }))
    known = current
    if (different.length + gone.length > 0) changed([...different, ...gone])
  }
  return watch(dir, () => {
    clearTimeout(timer)
    timer = setTimeout(look, SETTLE_MS)
  })
}

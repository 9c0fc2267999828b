import { basename } from 'node:path'
import { UserError } from '../base/errors.ts'
import { groupKindOf, isNamespacedKind, type KubeObject, type MemoryStore } from '../cluster/index.ts'
import type { Admission, ApplyResult } from './admission.ts'
import { IMAGES_FILE, type ImageCatalogue, parseImages } from './images.ts'
import { type ManifestObject, type ManifestProblem, readManifests } from './manifest.ts'
import { missingHosts } from './missing-hosts.ts'

/** A file of the mesh's folder, read by the supervisor; `text` undefined = the file is gone. */
export interface FolderFile {
  readonly file: string
  readonly text: string | undefined
}

export interface ApplyReport {
  readonly applied: readonly ApplyResult[]
  readonly problems: readonly ManifestProblem[]
}

/** A file whose every object is well-formed. */
interface ReadFile {
  readonly file: string
  readonly text: string
  readonly objects: readonly ManifestObject[]
}

type Key = { kind: string; namespace?: string; name: string }

/**
 * The objects that came from files. A file that cannot be read keeps what its last good version said; an object that
 * its file no longer has is removed. Only changed files are applied again, so that a scale by hand survives an edit elsewhere.
 */
export class FolderSource {
  private readonly store: MemoryStore
  private readonly admission: Admission
  private readonly images: ImageCatalogue
  private readonly files = new Map<string, { text: string; keys: Key[] }>()

  constructor(store: MemoryStore, admission: Admission, images: ImageCatalogue) {
    this.store = store
    this.admission = admission
    this.images = images
  }

  /** Applies what changed; with `everything` also files whose text is the same, which restores what was changed by hand. */
  update(files: readonly FolderFile[], everything = false): ApplyReport {
    const good: ReadFile[] = []
    const problems: ManifestProblem[] = []
    const gone: Key[] = []
    for (const { file, text } of files) {
      if (basename(file) === IMAGES_FILE) {
        problems.push(...this.loadImages(file, text))
        continue
      }
      const before = this.files.get(file)
      if (text === undefined) {
        gone.push(...(before?.keys ?? []))
        this.files.delete(file)
        continue
      }
      if (!everything && before?.text === text) continue
      const read = readManifests(file, text)
      problems.push(...read.problems)
      if (read.problems.every((problem) => problem.level !== 'error')) good.push({ file, text, objects: read.objects })
    }
    const applied = this.applyFiles(good, problems, gone)
    return { applied, problems }
  }

  private applyFiles(good: readonly ReadFile[], problems: ManifestProblem[], gone: Key[]): ApplyResult[] {
    const { files, applied } = this.applyGood(good, problems)
    for (const { file, text, objects } of files) {
      const keys = objects.map(({ object }) => keyOf(object))
      const kept = new Set(keys.map((key) => JSON.stringify(key)))
      gone.push(...(this.files.get(file)?.keys.filter((key) => !kept.has(JSON.stringify(key))) ?? []))
      this.files.set(file, { text, keys })
      problems.push(...missingHosts(this.store, objects))
    }
    // An object that moved to another file of the folder is not gone.
    const stated = new Set([...this.files.values()].flatMap(({ keys }) => keys.map((key) => JSON.stringify(key))))
    this.admission.delete(gone.filter((key) => !stated.has(JSON.stringify(key))))
    return applied
  }

  /** Applies the files as one batch; one that the cluster refuses is left out, and the others are applied. */
  private applyGood(
    good: readonly ReadFile[],
    problems: ManifestProblem[],
  ): { files: readonly ReadFile[]; applied: ApplyResult[] } {
    let files = good
    while (files.length > 0) {
      try {
        return { files, applied: this.admission.apply(files.flatMap(({ objects }) => objects)) }
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        const problem = problemOf(error)
        problems.push(problem)
        const others = files.filter(({ file }) => file !== problem.file)
        if (others.length === files.length) throw error
        files = others
      }
    }
    return { files, applied: [] }
  }

  private loadImages(file: string, text: string | undefined): ManifestProblem[] {
    try {
      this.images.load(text === undefined ? new Map() : parseImages(file, text))
      return []
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return [problemOf(error)]
    }
  }
}

/** Applies manifests handed in once, from `outrigger apply -f`; throws nothing: errors are among the problems. */
export function applyManifests(store: MemoryStore, admission: Admission, files: readonly FolderFile[]): ApplyReport {
  const read = files.map(({ file, text }) => readManifests(file, text ?? ''))
  const problems = read.flatMap((r) => r.problems)
  if (problems.some(({ level }) => level === 'error')) return { applied: [], problems }
  const objects = read.flatMap((r) => r.objects)
  try {
    const applied = admission.apply(objects)
    return { applied, problems: [...problems, ...missingHosts(store, objects)] }
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return { applied: [], problems: [...problems, problemOf(error)] }
  }
}

/** UserErrors of this room carry `file:line: ` in front; the pieces go back into a problem. */
function problemOf(error: UserError): ManifestProblem {
  const placed = /^(.*?):(\d+): (.*)$/s.exec(error.message)
  return placed
    ? { file: placed[1]!, line: Number(placed[2]), level: 'error', message: placed[3]! }
    : { file: '', line: 0, level: 'error', message: error.message }
}

export function keyOf(object: KubeObject): Key {
  const { namespace, name } = object.metadata
  return {
    kind: groupKindOf(object),
    ...(isNamespacedKind(object.kind) ? { namespace: namespace ?? 'default' } : {}),
    name,
  }
}

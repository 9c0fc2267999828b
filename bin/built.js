// Whether dist/ is what the sources say: the build notes size and time of every source file that went into it.
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Beside the bundles: path below the root, size in bytes, time of the last change in ms. */
export const INPUTS_FILE = 'dist/inputs.json'

/** What a build of these files (paths below `root`) is to note. */
export function describeInputs(root, paths) {
  return paths.map((path) => {
    const { size, mtimeMs } = statSync(join(root, path))
    return [path, size, mtimeMs]
  })
}

/** False also where nothing has been built. Some 600 calls of stat(2). */
export function isBuiltFresh(root) {
  let inputs
  try {
    inputs = JSON.parse(readFileSync(join(root, INPUTS_FILE), 'utf8'))
  } catch {
    return false // never built, or a build is under way
  }
  return inputs.every(([path, size, mtimeMs]) => {
    const found = statSync(join(root, path), { throwIfNoEntry: false })
    return found !== undefined && found.size === size && found.mtimeMs === mtimeMs
  })
}

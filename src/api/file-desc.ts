// Builds the descriptors of one .proto file; the generated modules call this in place of the library's function.

import type { DescFile } from '@bufbuild/protobuf'
import { fileDesc as libraryFileDesc } from '@bufbuild/protobuf/codegenv2'

/** Each file as its importers need it. */
const views = new WeakMap<DescFile, DescFile>()

/**
 * As `fileDesc` of `@bufbuild/protobuf/codegenv2`, in time and memory proportional to the file. The library registers
 * each import with all that it imports in turn, once for every path through the imports; over Envoy's 130 files that is
 * most of a proxy's start-up time and garbage. A .proto file can name the types of its direct imports and of what those
 * import publicly, so no more is handed down.
 */
export function fileDesc(base64: string, imports: readonly DescFile[] = []): DescFile {
  const file = libraryFileDesc(base64, imports.map(view))
  file.dependencies.splice(0, Infinity, ...imports)
  return file
}

/** `file` with only its public imports. */
function view(file: DescFile): DescFile {
  const known = views.get(file)
  if (known !== undefined) return known
  const { dependency, publicDependency } = file.proto
  const reexported = publicDependency.map((index) => dependency[index])
  const made = { ...file, dependencies: file.dependencies.filter((d) => reexported.includes(d.proto.name)).map(view) }
  views.set(file, made)
  return made
}

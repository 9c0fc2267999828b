// Which .proto files we register, and their text: the Envoy v3 API comes from @grpc/grpc-js-xds (its deps/ folder) with
// what src/api/later adds to it, Istio's few messages and OpenTelemetry's from src/api/proto.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mergeProto } from './merge-proto.mjs'

/** The project's folder. */
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
/** What the API has gained since the package's protos: parts of files, by the path of the whole one. */
export const later = join(root, 'src/api/later')
export const deps = join(root, 'node_modules/@grpc/grpc-js-xds/deps')

const searchPath = [
  join(root, 'src/api/proto'),
  ...['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((d) => join(deps, d)),
]

/** The paths in src/api/proto-roots.txt. */
export function protoRoots() {
  return readFileSync(join(root, 'src/api/proto-roots.txt'), 'utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith('#'))
}

/**
 * Proto path → text, for the closure of `roots` under import. `withLater: false`: as the package has them; a root that
 * it does not have is left out then.
 */
export function protoFiles(roots, { withLater = true } = {}) {
  const files = new Map()
  const queue = [...roots]
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path) || path.startsWith('google/protobuf/')) continue
    const text = protoText(path, withLater)
    if (text === null) {
      if (!withLater && roots.includes(path)) continue
      throw new Error(`${path} is in none of ${searchPath.join(', ')}`)
    }
    files.set(path, text)
    for (const match of text.matchAll(/^ *import\s+(?:public\s+)?"([^"]+)";/gm)) queue.push(match[1])
  }
  return files
}

function protoText(path, withLater) {
  const file = searchPath.map((dir) => join(dir, path)).find((candidate) => existsSync(candidate))
  const part = withLater && existsSync(join(later, path)) ? readFileSync(join(later, path), 'utf8') : null
  if (!file) return part
  const text = compilable(path, readFileSync(file, 'utf8'))
  return part === null ? text : mergeProto(text, part)
}

/** What the package's protos lack to compile, or have too much of. */
function compilable(path, text) {
  // Envoy's protos use `ignore_empty`, which this copy of the rules is too old for.
  if (path === 'validate/validate.proto' && !/ignore_empty/.test(text)) {
    return text
      .replace(/(message StringRules \{)/, '$1\n  optional bool ignore_empty = 26;\n')
      .replace(/(message (?:Float|Double|S?U?Int\d\d|S?Fixed\d\d)Rules \{)/g, '$1\n  optional bool ignore_empty = 8;\n')
  }
  // This tracer configuration imports protos that are not in the package, and we register no such tracer.
  if (path === 'envoy/config/trace/v3/trace.proto')
    return text.replace(/^import public "envoy\/config\/trace\/v3\/opencensus\.proto";$/m, '')
  // The rule went when CEL's own messages came, which stand beside this oneof.
  if (path === 'xds/type/v3/cel.proto') return text.replace(/^ *option \(validate\.required\) = true;$/m, '')
  return text
}

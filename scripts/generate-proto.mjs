// Generates src/api/gen from the .proto files that src/api/proto-roots.txt names and what they import.
// The Envoy v3 API comes from @grpc/grpc-js-xds (its deps/ folder), Istio's few messages from src/api/proto.
// Runs at install; does nothing when its inputs have not changed. Plain JavaScript, so that any Node can run it.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LATER_FIELDS } from './later-fields.mjs'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const out = join(root, 'src/api/gen')
const work = join(root, 'node_modules/.cache/outrigger-proto')
const bin = join(root, 'node_modules/.bin')
const deps = join(root, 'node_modules/@grpc/grpc-js-xds/deps')

if (!existsSync(deps)) {
  // A published package ships dist/ and needs no generator.
  console.log('generate-proto: @grpc/grpc-js-xds is not installed; nothing to generate')
  process.exit(0)
}

const searchPath = [
  join(root, 'src/api/proto'),
  ...['envoy-api', 'xds', 'googleapis', 'protoc-gen-validate'].map((d) => join(deps, d)),
]
const roots = readFileSync(join(root, 'src/api/proto-roots.txt'), 'utf8')
  .split('\n')
  .map((line) => line.trim())
  .filter((line) => line && !line.startsWith('#'))

/** Proto path -> file on disk, for the closure of `roots` under import. */
function closure() {
  const files = new Map()
  const queue = [...roots]
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path) || path.startsWith('google/protobuf/')) continue
    const file = searchPath.map((dir) => join(dir, path)).find((candidate) => existsSync(candidate))
    if (!file) throw new Error(`generate-proto: ${path} is in none of ${searchPath.join(', ')}`)
    const text = patched(path, readFileSync(file, 'utf8'))
    files.set(path, text)
    for (const match of text.matchAll(/^ *import\s+(?:public\s+)?"([^"]+)";/gm)) queue.push(match[1])
  }
  return files
}

/** What the stored protos lack for the rest to compile. */
function patched(path, text) {
  if (path === 'validate/validate.proto' && !/ignore_empty = 26/.test(text)) {
    // StringRules.ignore_empty is used by Envoy's protos but missing from this copy.
    return text.replace(/(message StringRules \{)/, '$1\n  optional bool ignore_empty = 26;\n')
  }
  // This tracer configuration imports protos that are not in the package, and we register no such tracer.
  if (path === 'envoy/config/trace/v3/trace.proto') {
    return text.replace(/^import public "envoy\/config\/trace\/v3\/opencensus\.proto";$/m, '')
  }
  // A collector may be named by collector_service alone.
  if (path === 'envoy/config/trace/v3/zipkin.proto') {
    text = text.replace(/ \[\(validate\.rules\)\.string = \{min_len: 1\}\]/g, '')
  }
  // `record` may stand in its place.
  if (path === 'envoy/config/core/v3/base.proto') {
    text = text.replace(
      /KeyValue entry = 1 \[\(validate\.rules\)\.message = \{required: true\}\]/,
      'KeyValue entry = 1',
    )
  }
  // Limits of a route's configuration of the filter have become those of routes.
  if (path === 'envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto') {
    text = text.replace(
      /repeated RateLimitConfig rate_limits = 3/,
      'repeated config.route.v3.RateLimit rate_limits = 3',
    )
  }
  // An entry without value stands for any, which limits by descriptor may ask for.
  if (path === 'envoy/extensions/common/ratelimit/v3/ratelimit.proto') {
    text = text.replace(/string value = 2 \[\(validate\.rules\)\.string = \{min_len: 1\}\]/, 'string value = 2')
  }
  // A double needs no key any more.
  if (path === 'envoy/config/core/v3/base.proto') {
    text = text.replace(/(message RuntimeDouble \{[^}]*string runtime_key = 2) \[[^\]]*\]/, '$1')
  }
  for (const [line, ...fields] of LATER_FIELDS[path] ?? []) {
    const found = new RegExp(`^${line.replace(/[{}().]/g, '\\$&')}\\r?$`, 'm').exec(text)
    if (!found) throw new Error(`generate-proto: ${path} has no line "${line}"`)
    const end = found.index + found[0].length
    text = `${text.slice(0, end)}\n  ${fields.join('\n  ')}${text.slice(end)}`
  }
  return text
}

const files = closure()
const hash = createHash('sha256')
for (const path of [...files.keys()].sort()) hash.update(path).update('\0').update(files.get(path))
hash.update(readFileSync(fileURLToPath(import.meta.url)))
hash.update(readFileSync(join(root, 'node_modules/@bufbuild/protoc-gen-es/package.json')))
const digest = hash.digest('hex')
const stamp = join(out, '.stamp')
if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) process.exit(0)

// Made beside the old one and swapped in at the end: whoever runs meanwhile keeps what it has.
const fresh = `${work}-out`
rmSync(work, { recursive: true, force: true })
rmSync(fresh, { recursive: true, force: true })
for (const [path, text] of files) {
  mkdirSync(dirname(join(work, path)), { recursive: true })
  writeFileSync(join(work, path), text)
}
writeFileSync(join(work, 'buf.yaml'), 'version: v2\n')
// js+dts: the `ts` target writes enums, which type stripping refuses.
writeFileSync(
  join(work, 'buf.gen.yaml'),
  JSON.stringify({
    version: 'v2',
    // One run of the plugin for all files: by default buf starts one for each folder, each a Node of its own.
    plugins: [
      {
        local: join(bin, 'protoc-gen-es'),
        out: fresh,
        opt: ['target=js+dts', 'import_extension=js'],
        strategy: 'all',
      },
    ],
  }),
)
const started = Date.now()
execFileSync(join(bin, 'buf'), ['generate'], {
  cwd: work,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
})
// Our fileDesc builds the same descriptors in a fraction of the time (src/api/file-desc.ts).
for (const path of files.keys()) {
  const file = join(fresh, path.replace(/\.proto$/, '_pb.js'))
  const own = `${'../'.repeat(path.split('/').length)}file-desc.ts`
  const text = readFileSync(file, 'utf8')
  const changed = text.replace(
    /^import \{ (.*)\bfileDesc\b(?:, )?(.*) \} from "(@bufbuild\/protobuf\/codegenv2)";$/m,
    (_, before, after, library) => {
      const others = `${before}${after}`.replace(/, $/, '')
      return `${others ? `import { ${others} } from "${library}";\n` : ''}import { fileDesc } from "${own}";`
    },
  )
  if (changed === text) throw new Error(`generate-proto: ${file} imports no fileDesc: has protoc-gen-es changed?`)
  writeFileSync(file, changed)
}
// Full message name -> generated module, for the registry that loads descriptors on first use (src/api/registry.ts).
const index = {}
for (const [path, text] of files) {
  const packageName = /^package\s+([\w.]+);/m.exec(text)?.[1]
  if (!packageName) continue
  // Top-level messages start in the first column in every file we use; only these appear in an Any.
  for (const match of text.matchAll(/^message (\w+)/gm))
    index[`${packageName}.${match[1]}`] = path.replace(/\.proto$/, '_pb.js')
}
writeFileSync(join(fresh, 'index.json'), JSON.stringify(index))
writeFileSync(join(fresh, '.stamp'), digest)
const old = `${work}-old`
if (existsSync(out)) renameSync(out, old)
renameSync(fresh, out)
rmSync(old, { recursive: true, force: true })
console.log(`generate-proto: ${files.size} files in ${((Date.now() - started) / 1000).toFixed(1)} s`)

// Generates src/api/gen from the .proto files that src/api/proto-roots.txt names and what they import.
// Runs at install; does nothing when its inputs have not changed. Plain JavaScript, so that any Node can run it.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deps, protoFiles, protoRoots, root } from './proto-files.mjs'

const out = join(root, 'src/api/gen')
const work = join(root, 'node_modules/.cache/outrigger-proto')
const bin = join(root, 'node_modules/.bin')

if (!existsSync(deps)) {
  // A published package ships dist/ and needs no generator.
  console.log('generate-proto: @grpc/grpc-js-xds is not installed; nothing to generate')
  process.exit(0)
}

const files = protoFiles(protoRoots())
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

// Makes dist/, what the published package runs: the command line and everything behind it as minified bundles that
// share chunks, so that a command loads its own code and no more. esbuild, because it splits along dynamic imports,
// wraps what is `require`d so that it runs on first use, and does all of this in two seconds.
// usage: node scripts/build.mjs [--if-stale: nothing when dist/ is what the sources say, as after an install]
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire, isBuiltin } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeInputs, INPUTS_FILE, isBuiltFresh } from '../bin/built.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const src = join(root, 'src')
const out = join(root, 'dist')
const ifStale = process.argv.includes('--if-stale')
/** A process that runs loads chunks when it first needs them: those of an earlier build stay for so long. */
const KEPT_MS = 24 * 3_600_000

if (ifStale && !existsSync(join(root, 'node_modules/esbuild'))) {
  console.log('build: esbuild is not installed; the sources run as they are')
  process.exit(0)
}
if (ifStale && isBuiltFresh(root)) process.exit(0)

/** Modules that are started by their file name: they keep it. */
const ENTRIES = ['src/cli/main.ts', 'src/proxy/server/worker-thread.ts']

/** Stands in for src/api/generated.ts: each descriptor module is in a bundle and runs when it is first asked for. */
function generatedTable() {
  const gen = join(src, 'api/gen')
  const modules = readdirSync(gen, { recursive: true }).filter((name) => name.endsWith('_pb.js'))
  const table = modules.map((name) => `${JSON.stringify(name)}: () => require(${JSON.stringify(`./gen/${name}`)}),`)
  return `const modules = {
${table.join('\n')}
}
export const readModuleIndex = () => require('./gen/index.json')
export const loadModule = (path) => modules[path]()
`
}

/**
 * All output files lie in dist/ itself. A module that locates something beside itself shall find it as if it were still
 * at its place in the tree, with dist/ for src/; another entry that it starts is the file of that name in dist/.
 */
function located(path, text) {
  const here = `new URL('./${relative(src, path)}', import.meta.url).href`
  return text.replace(/new URL\('(?:[^']*\/)?([^'/]+)\.ts', import\.meta\.url\)|import\.meta\.url/g, (_, entry) =>
    entry === undefined ? here : `new URL('./${entry}.js', import.meta.url)`,
  )
}

/** @type {import('esbuild').Plugin} */
const places = {
  name: 'places',
  setup(setup) {
    setup.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
      if (path === join(src, 'api/generated.ts')) return { contents: generatedTable(), resolveDir: dirname(path) }
      const text = readFileSync(path, 'utf8')
      return text.includes('import.meta.url') ? { contents: located(path, text), loader: 'ts' } : undefined
    })
  },
}

/**
 * Node's modules by `process.getBuiltinModule`: an `import` of one reads every export for the module's namespace, lazy
 * ones too, and node:http's WebSocket alone loads 12 MB of undici. Only the exports in use are read here.
 * @type {import('esbuild').Plugin}
 */
const builtins = {
  name: 'builtins',
  setup(setup) {
    setup.onResolve({ filter: /.*/ }, ({ path, kind }) =>
      kind !== 'require-call' && kind !== 'require-resolve' && isBuiltin(path)
        ? { path, namespace: 'builtin' }
        : undefined,
    )
    setup.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path)).filter(
        (name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default',
      )
      const named = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => module.${name})()`)
      return {
        contents: [`const module = process.getBuiltinModule('${path}')`, ...named, 'export default module'].join('\n'),
      }
    })
  },
}

/**
 * `await import` of a CommonJS library: Node finds its exports by name, esbuild gives it a default export only. The names
 * here are what the library exports here and now.
 * @type {import('esbuild').Plugin}
 */
const named = {
  name: 'named',
  setup(setup) {
    setup.onResolve({ filter: /^[\w@]/ }, ({ path, kind }) =>
      kind === 'dynamic-import' && !isBuiltin(path) && isCommonJs(path) ? { path, namespace: 'named' } : undefined,
    )
    setup.onLoad({ filter: /.*/, namespace: 'named' }, ({ path }) => {
      const names = Object.keys(createRequire(import.meta.url)(path)).filter(
        (name) => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default',
      )
      const library = JSON.stringify(path)
      return {
        contents: [
          `import * as library from ${library}`,
          ...names.map((name) => `export const ${name} = library.${name}`),
        ].join('\n'),
        resolveDir: root,
      }
    })
  },
}

/** Whether `import` of a package gives CommonJS, by its file's name or the nearest package.json (as Node decides). */
function isCommonJs(specifier) {
  const file = fileURLToPath(import.meta.resolve(specifier))
  if (/\.[cm]js$/.test(file)) return file.endsWith('.cjs')
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json')
    if (existsSync(manifest)) return JSON.parse(readFileSync(manifest, 'utf8')).type !== 'module'
  }
}

/** What the launcher compares: generated code follows from the rest of this list. */
function inputPaths({ inputs }) {
  const sources = Object.keys(inputs).filter((path) => path.startsWith('src/') && !path.startsWith('src/api/gen/'))
  return [...sources, 'src/api/proto-roots.txt', 'scripts/build.mjs', 'package-lock.json']
}

if (ifStale) rmSync(join(root, INPUTS_FILE), { force: true })
else rmSync(out, { recursive: true, force: true })
const { build } = await import('esbuild')
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ENTRIES,
  outdir: out,
  entryNames: '[name]',
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  minify: true,
  format: 'esm',
  platform: 'node',
  target: 'node22.18',
  legalComments: 'linked',
  // A native addon finds its binary beside its own package.
  external: ['koffi'],
  // CommonJS libraries in the bundle `require` Node's modules.
  banner: { js: "import{createRequire as requireOf}from'node:module';const require=requireOf(import.meta.url);" },
  plugins: [places, builtins, named],
  metafile: true,
  logLevel: 'warning',
})
const made = new Set(Object.keys(metafile.outputs))
for (const name of readdirSync(out)) {
  const path = join(out, name)
  if (!made.has(`dist/${name}`) && Date.now() - statSync(path).mtimeMs > KEPT_MS) rmSync(path)
}
// Last, and as a whole: from here on the launcher runs the bundles.
writeFileSync(join(root, `${INPUTS_FILE}.new`), JSON.stringify(describeInputs(root, inputPaths(metafile))))
renameSync(join(root, `${INPUTS_FILE}.new`), join(root, INPUTS_FILE))

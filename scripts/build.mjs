// Makes dist/, what the published package runs: the command line and everything behind it as minified bundles that
// share chunks, so that a command loads its own code and no more. esbuild, because it splits along dynamic imports,
// wraps what is `require`d so that it runs on first use, and does all of this in two seconds.
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const src = join(root, 'src')
const out = join(root, 'dist')

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
  return text.replace(
    /new URL\('(?:[^']*\/)?([^'/]+)\.ts', import\.meta\.url\)|import\.meta\.url/g,
    (_, entry) => (entry === undefined ? here : `new URL('./${entry}.js', import.meta.url)`),
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

rmSync(out, { recursive: true, force: true })
await build({
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
  plugins: [places, builtins],
  logLevel: 'warning',
})

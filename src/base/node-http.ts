// node:http and node:https for whoever serves or calls a little HTTP of its own, but is not about HTTP.

/**
 * The module `node:http`. An `import` of it reads every export to make the module's namespace, among them the lazy
 * `WebSocket`, and that loads the whole of undici: 12 MB of resident memory in each sidecar. This way nothing but HTTP
 * loads. Types still come from `import type … from 'node:http'`.
 */
export const http = process.getBuiltinModule('node:http')

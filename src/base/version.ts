import { createRequire } from 'node:module'

/** Of the package, e.g. `0.1.0`. */
export const VERSION = (createRequire(import.meta.url)('../../package.json') as { version: string }).version

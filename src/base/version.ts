import { createRequire } from 'node:module'

/** Of the package, e.g. `0.1.0`. */
export const VERSION = (createRequire(import.meta.url)('../../package.json') as { version: string }).version

/** What istiod and istioctl tell of a build; nothing here knows the revision it was made of. */
export interface BuildInfo {
  readonly version: string
  readonly revision: string
  readonly golang_version: string
  readonly status: string
  readonly tag: string
}

/** Of a build of which only the version is known. */
export function buildInfo(version: string): BuildInfo {
  return { version, revision: '', golang_version: '', status: '', tag: version }
}

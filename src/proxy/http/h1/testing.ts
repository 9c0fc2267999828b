// What the tests of the HTTP/1 codec configure it with: Envoy's defaults.

import { parseHttp1Options } from '../parse-options.ts'

export const OPTIONS = parseHttp1Options(undefined)

export const LIMITS = { maxBytes: 60 * 1024, maxHeaders: 100, underscores: 'ALLOW', keepSpellings: false } as const

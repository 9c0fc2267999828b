// Gives back the memory that only starting up needed.

import { flushCompileCache } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import { collectGarbage } from './collect-garbage.ts'

/** V8's own value: collections that a function's code survives without a call. */
const BYTECODE_OLD_AGE = 6
/**
 * A full collection comes when the heap has grown by this much since the last: left alone V8 lets it quadruple. Requests
 * leave little in the old generation (see young-generation.ts), so it comes seldom all the same.
 */
const HEAP_GROWING_PERCENT = 20

/**
 * Loading modules and building protobuf descriptors leaves three quarters of the heap as garbage, and V8 keeps the pages
 * for later; code that ran once stays for several collections. Full collections of the kind that shrinks the heap (some
 * 70 ms, once, before a server is ready) bring a sidecar from about 140 to 80 MB of resident memory.
 */
export function releaseStartupMemory(): void {
  // What is collected here could not be written to the cache later, and the next start would compile it again.
  flushCompileCache?.()
  setFlagsFromString('--bytecode-old-age=1')
  for (let round = 0; round < 2; round++) collectGarbage({ type: 'major', execution: 'sync', flavor: 'last-resort' })
  setFlagsFromString(`--bytecode-old-age=${BYTECODE_OLD_AGE}`)
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`)
  // The launcher starts data planes without the optimising compilers; from here on they pay.
  setFlagsFromString('--opt')
  setFlagsFromString('--maglev')
}

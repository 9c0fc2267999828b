// The C allocator keeps what is freed: V8's compilers work on four threads, each with an arena of its own, and leave up
// to 20 MB of a proxy's resident memory behind that nobody uses. glibc gives it back when asked.

import { createRequire } from 'node:module'

const INTERVAL_MS = 5_000
/** Less is not worth the walk through the arenas, some 0.3 to 3 ms. */
const WORTHWHILE_BYTES = 2 << 20

/**
 * From now on, whenever the process has grown, returns the allocator's free memory to the kernel. The result ends it.
 * With another C library than glibc, whose allocators keep less, it does nothing.
 */
export function keepMallocTrimmed(): () => void {
  let floor = 0
  let trim: (() => void) | null | undefined
  const timer = setInterval(() => {
    if (process.memoryUsage.rss() < floor + WORTHWHILE_BYTES) return
    if (trim === undefined) trim = loadTrim()
    if (trim === null) clearInterval(timer)
    trim?.()
    floor = process.memoryUsage.rss()
  }, INTERVAL_MS)
  timer.unref()
  return () => clearInterval(timer)
}

let loaded: (() => void) | null | undefined

/** Once, now. Does nothing with another C library than glibc. */
export function trimMemory(): void {
  if (loaded === undefined) loaded = loadTrim()
  loaded?.()
}

/** null where the C library has no malloc_trim (musl, macOS). */
function loadTrim(): (() => void) | null {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  try {
    const mallocTrim = koffi.load(null).func('int malloc_trim(size_t pad)')
    return () => mallocTrim(0)
  } catch {
    return null
  }
}

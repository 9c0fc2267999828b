// Gives back memory that nobody uses, whenever the process has grown.
//
// The C allocator keeps what is freed: V8's compilers work on four threads, each with an arena of its own, and leave up
// to 20 MB of a proxy's resident memory behind. And of Node's binary some 50 MB are mapped after a start and the first
// load, of which serving needs half: the rest is what only loading and compiling used. Such pages are clean and in the
// page cache, so dropping them costs a minor fault when one is needed after all.

import { readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'

const INTERVAL_MS = 5_000
/** Less is not worth the walk through the arenas, some 0.3 to 3 ms. */
const WORTHWHILE_BYTES = 2 << 20
const MADV_DONTNEED = 4

/**
 * From now on, whenever the process has grown, returns free memory of the allocator and unused pages of the binary to
 * the kernel. The result ends it. With another C library than glibc, whose allocators keep less, it does nothing.
 */
export function keepMallocTrimmed(): () => void {
  let floor = 0
  let settling = false
  let trim: (() => void) | null | undefined
  const timer = setInterval(() => {
    const rss = process.memoryUsage.rss()
    if (settling) {
      // What is needed of the pages dropped last time is back: growth counts from here.
      settling = false
      floor = rss
    }
    if (rss < floor + WORTHWHILE_BYTES) return
    if (trim === undefined) trim = loadTrim()
    if (trim === null) clearInterval(timer)
    trim?.()
    settling = true
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
    const libc = koffi.load(null)
    const mallocTrim = libc.func('int malloc_trim(size_t pad)')
    const madvise = libc.func('int madvise(uintptr_t address, size_t length, int advice)')
    const mappings = binaryMappings()
    return () => {
      mallocTrim(0)
      for (const { start, length } of mappings) madvise(start, length, MADV_DONTNEED)
    }
  } catch {
    return null
  }
}

interface Mapping {
  readonly start: number
  readonly length: number
}

/** Read-only mappings of Node's binary that hold nothing but what is in the file. */
function binaryMappings(): Mapping[] {
  return parseSmaps(readFileSync('/proc/self/smaps', 'latin1'), realpathSync(process.execPath))
}

/**
 * The mappings of `file` in a /proc/…/smaps text that may be dropped: not writable, and without anonymous pages. A page
 * that the dynamic linker has relocated is anonymous, and would come back without its relocations.
 */
export function parseSmaps(smaps: string, file: string): Mapping[] {
  const mappings: Mapping[] = []
  for (const entry of smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-.p \S+ \S+ \d+ +(.*)/.exec(entry)
    if (head?.[3] !== file || !/^Anonymous: +0 kB$/m.test(entry)) continue
    const start = Number.parseInt(head[1]!, 16)
    mappings.push({ start, length: Number.parseInt(head[2]!, 16) - start })
  }
  return mappings
}

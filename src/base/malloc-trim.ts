// Gives back memory that nobody uses, whenever the process has grown.
//
// The C allocator keeps what is freed: V8's compilers work on four threads, each with an arena of its own, and leave up
// to 20 MB of a proxy's resident memory behind. And of Node's binary some 50 MB are mapped after a start and the first
// load, of which serving needs half: the rest is what only loading and compiling used. Such pages are clean and in the
// page cache, so dropping them costs a minor fault when one is needed after all.

import { readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { residentBytes } from './memory-usage.ts'

const INTERVAL_MS = 5_000
const SETTLING_MS = 1_000
/** Less is not worth the walk through the arenas, some 0.3 to 3 ms. */
const WORTHWHILE_BYTES = 2 << 20
const MADV_DONTNEED = 4

/**
 * Now, before there is traffic, and from now on whenever the process has grown, returns free memory of the allocator and
 * unused pages of the binary to the kernel. The result ends it. With another C library than glibc, whose allocators keep
 * less, it does nothing.
 */
export function keepMallocTrimmed(): () => void {
  const trim = loadTrim()
  if (trim === null) return () => {}
  trim.now()
  let floor = residentBytes() ?? 0
  // What is needed of the pages dropped is back soon: growth counts from then.
  let settling: NodeJS.Timeout | undefined
  const timer = setInterval(() => {
    if ((residentBytes() ?? 0) < floor + WORTHWHILE_BYTES) return
    trim.aside()
    settling = setTimeout(() => (floor = residentBytes() ?? floor), SETTLING_MS)
    settling.unref()
  }, INTERVAL_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    clearTimeout(settling)
  }
}

/** Once, now. Does nothing with another C library than glibc. */
export function trimMemory(): void {
  loadTrim()?.now()
}

interface Trim {
  now(): void
  /** On a thread of the pool: walking the arenas of a busy process takes milliseconds, and requests would wait. */
  aside(): void
}

let loaded: Trim | null | undefined

/** null where the C library has no malloc_trim (musl, macOS). Takes some 10 ms, once. */
function loadTrim(): Trim | null {
  if (loaded !== undefined) return loaded
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')
  try {
    const libc = koffi.load(null)
    const mallocTrim = libc.func('int malloc_trim(size_t pad)')
    const madvise = libc.func('int madvise(uintptr_t address, size_t length, int advice)')
    const mappings = binaryMappings()
    loaded = {
      now() {
        mallocTrim(0)
        for (const { start, length } of mappings) madvise(start, length, MADV_DONTNEED)
      },
      aside() {
        mallocTrim.async(0, () => {
          for (const { start, length } of mappings) madvise.async(start, length, MADV_DONTNEED, () => {})
        })
      },
    }
  } catch {
    loaded = null
  }
  return loaded
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

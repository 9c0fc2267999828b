import { copyFileSync, readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'

/** kubelet's containerLogMaxSize. */
const MAX_LOG_BYTES = 10 * 2 ** 20
const CHECK_MS = 15_000

/**
 * Keeps each container log below 10 MiB with one older generation (`.1`). The file is copied and emptied in place:
 * programs hold it open, for appending, and go on writing at its new end.
 */
export function rotateLogs(logDir: string): void {
  setInterval(() => {
    for (const entry of readdirSync(logDir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.log')) continue
      const file = join(entry.parentPath, entry.name)
      if (statSync(file).size <= MAX_LOG_BYTES) continue
      copyFileSync(file, `${file}.1`)
      truncateSync(file)
    }
  }, CHECK_MS).unref()
}

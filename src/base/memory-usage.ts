// Memory of the process. Resident memory is read from a file, and a process that has no descriptor left cannot: it is to
// go on serving then, and to tell the rest.

/** Null: it cannot be read now. */
export function memoryUsage(): NodeJS.MemoryUsage | null {
  try {
    return process.memoryUsage()
  } catch {
    return null
  }
}

/** Bytes of resident memory. Null: it cannot be read now. */
export function residentBytes(): number | null {
  try {
    return process.memoryUsage.rss()
  } catch {
    return null
  }
}

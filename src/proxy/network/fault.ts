// Where a fault of our own is told, before it ends the stream or connection that it belongs to; never the process.

type Reporter = (error: unknown, where: string) => void

/** Until a worker says where to report, a fault is an exception: tests must see it. */
let reporter: Reporter = (error) => {
  throw error
}

/** Returns the reporter before, so that a test can put it back. */
export function setFaultReporter(report: Reporter): Reporter {
  const before = reporter
  reporter = report
  return before
}

/** `where`: what was going on, e.g. `connection 12`. */
export function reportFault(error: unknown, where: string): void {
  reporter(error, where)
}

// A fault of our own while a peer's bytes are handled: it ends that connection, never the process.

type Reporter = (error: unknown, where: string) => void

/** Until a worker says where to report, a fault is an exception: tests must see it. */
let reporter: Reporter = (error) => {
  throw error
}

export function setFaultReporter(report: Reporter): void {
  reporter = report
}

/** `where`: what was going on, e.g. `connection 12`. */
export function reportFault(error: unknown, where: string): void {
  reporter(error, where)
}

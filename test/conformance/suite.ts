// What a conformance suite is: recorded cases in, differences out. Each suite is one file in suites/.

/** A case whose outcome differs from the record. */
export interface Difference {
  readonly id: string
  readonly message: string
}

export interface SuiteResult {
  readonly total: number
  readonly differences: readonly Difference[]
  /** Why a suite did not run here, when it needs a program that may be missing. */
  readonly note?: string
}

/** Reads `file` below the data directory and compares. Throws when the data is not there. */
export interface Suite {
  readonly name: string
  run(dataDirectory: string): Promise<SuiteResult>
}

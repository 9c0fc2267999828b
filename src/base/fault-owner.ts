// Who ends what an exception of our own has left half done: a stream, a connection. Nothing else is touched.

export interface FaultOwner {
  /** Reports `error` and ends itself. Never throws. */
  onFault(error: unknown): void
}

/** As setTimeout; what `run` throws goes to `owner`. */
export function ownedTimeout<T extends FaultOwner>(run: (owner: T) => void, delayMs: number, owner: T): NodeJS.Timeout {
  return setTimeout(guard, delayMs, run as (owner: FaultOwner) => void, owner)
}

function guard(run: (owner: FaultOwner) => void, owner: FaultOwner): void {
  try {
    run(owner)
  } catch (error) {
    owner.onFault(error)
  }
}

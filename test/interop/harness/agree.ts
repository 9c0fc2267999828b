// Counters of two proxies follow what happened at moments of their own: they have a while to agree.

import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'

const STEP_MS = 50

/** Waits until `read` brings the same of Envoy and of ours (in this order); behind `patienceMs` a difference is an error. */
export async function assertAgree(read: () => Promise<readonly [unknown, unknown]>, patienceMs: number): Promise<void> {
  const until = Date.now() + patienceMs
  for (;;) {
    const [theirs, ours] = await read()
    if (isDeepStrictEqual(ours, theirs)) return
    if (Date.now() > until) assert.deepEqual(ours, theirs)
    await new Promise((resolve) => setTimeout(resolve, STEP_MS))
  }
}

// Encodes responses so that what many connections are sent alike is written once and shared.
import type { EncodedResource } from './server-types.ts'
import { encodeResources, encodeRest, type ResponseHead, resourcesSize } from './wire.ts'

/** Resources as they were encoded for some connection. */
interface Run {
  readonly resources: readonly EncodedResource[]
  readonly bytes: Buffer
  /** Where each resource ends in `bytes`. */
  readonly ends: readonly number[]
}

/** Smaller lists are encoded for each connection: that costs less than to look for them. */
const SHARE_BYTES = 16 * 1024
/** Lists kept of one type: as many kinds of proxies share their bytes at a time. */
const RUNS = 4

/** Encoder of one protocol variant. Keeps the lists encoded last; connections whose list begins alike share the bytes. */
export class ResponseEncoder {
  readonly #delta: boolean
  /** By type URL, used last first. */
  readonly #runs = new Map<string, Run[]>()

  constructor(delta: boolean) {
    this.#delta = delta
  }

  /** The message in pieces. They are shared: never change one. */
  encode(head: ResponseHead, resources: readonly EncodedResource[], removed: readonly string[]): readonly Buffer[] {
    const rest = encodeRest(head, removed, this.#delta)
    if (resources.length === 0) return [rest]
    const { typeUrl } = head
    const { run, count } = this.#longest(typeUrl, resources)
    const shared = run === null ? 0 : run.ends[count - 1]!
    const own = count === 0 ? resources : resources.slice(count)
    const ownSize = resourcesSize(typeUrl, own, this.#delta)
    if (run !== null && ownSize <= shared) {
      const chunk = run.bytes.subarray(0, shared)
      return ownSize === 0 ? [chunk, rest] : [chunk, encodeResources(typeUrl, own, this.#delta).bytes, rest]
    }
    const { bytes, ends } = encodeResources(typeUrl, resources, this.#delta)
    if (bytes.length >= SHARE_BYTES) this.#remember(typeUrl, { resources, bytes, ends })
    return [bytes, rest]
  }

  /** The known list with the most resources in common at its beginning. */
  #longest(typeUrl: string, resources: readonly EncodedResource[]): { run: Run | null; count: number } {
    const runs = this.#runs.get(typeUrl)
    let best = { run: null as Run | null, count: 0 }
    for (const run of runs ?? []) {
      const count = commonLength(run.resources, resources)
      if (count > best.count) best = { run, count }
    }
    if (best.run !== null && runs![0] !== best.run) {
      runs!.splice(runs!.indexOf(best.run), 1)
      runs!.unshift(best.run)
    }
    return best
  }

  #remember(typeUrl: string, run: Run): void {
    const runs = this.#runs.get(typeUrl)
    if (runs === undefined) this.#runs.set(typeUrl, [run])
    else {
      runs.unshift(run)
      if (runs.length > RUNS) runs.pop()
    }
  }
}

function commonLength(a: readonly EncodedResource[], b: readonly EncodedResource[]): number {
  const end = Math.min(a.length, b.length)
  for (let i = 0; i < end; i++) if (a[i] !== b[i]) return i
  return end
}

// JWKS documents: fetched by the control plane, so that proxies get the keys inline and need no way out.
import { errorText } from '../../base/errors.ts'
import { parseKeySet } from '../../base/json-web-keys.ts'
import type { Logger } from '../../base/logger.ts'
import type { JwtRule, RequestAuthentication } from '../../config/index.ts'

/** Fetched key sets by their source. */
export type KeySetMap = ReadonlyMap<string, string>

const NO_KEY_SETS: KeySetMap = new Map()

/** A key set whose private key was thrown away: with it every token fails instead of passing unchecked. */
export const UNREACHABLE_KEY_SET =
  '{"keys":[{"e":"AQAB","kid":"unreachable","kty":"RSA","n":"xgaMXJprwJNA_cXis1CX3uBnppquoZgs90BtLzNCW_mVdiYtcPj1p8zuFtwb1X0fYl2hUNNQdO-4udtOI9ux3NUnGHoZuvr486GJruKBOUf2BW3tfpZeoznl7e-ZxAlPeNNEmuCTqYuxGexkrt1hJayLB4uE67rj-Iq-L2EapFNiWJdb729As8vDopsjjrBMJXk9TNbFv686j8CSA9F4SjFTS2PNOPN9TJPaXiidAxriPgOXSRxlM-JibiWo1_4aydA65alMXPMFAHfvLtHH_oTjtUdTREBSHpglQt2At-mKePf_vBaH3E9ft9XpGypdGSJb7UZuGkx0P7NhyqnPGw"}]}'

/** How often keys are fetched anew, and how soon again after a failure. */
const REFRESH_MS = 20 * 60_000
const RETRY_MS = 60_000
const DEFAULT_TIMEOUT_MS = 5_000
/** More than any real key set; a larger answer is refused. */
const MAX_BYTES = 1024 * 1024

const DISCOVERY_PATH = '/.well-known/openid-configuration'

/** Where a rule's keys come from: its jwksUri, else the issuer's OpenID discovery document. Undefined for inline keys. */
export function keySetSource(rule: JwtRule): string | undefined {
  if (rule.jwks) return undefined
  return rule.jwksUri || `${(rule.issuer ?? '').replace(/\/$/, '')}${DISCOVERY_PATH}`
}

interface Source {
  readonly timeoutMs: number
  timer: NodeJS.Timeout | null
}

/** Fetches that went well and that did not. */
interface FetchCounters {
  readonly fetched: { inc(): void }
  readonly failed: { inc(): void }
}

/**
 * Keeps the key sets of all RequestAuthentications fresh. Life: {@link follow} after every change of the policies, any
 * number of times; {@link close} once. A failed fetch keeps the last good keys.
 */
export class KeySetFetcher {
  private readonly log: Logger
  private readonly changed: (keySets: KeySetMap) => void
  private readonly sources = new Map<string, Source>()
  private keySets: KeySetMap = NO_KEY_SETS
  private readonly counters: FetchCounters
  private readonly stopping = new AbortController()

  /** `changed` is told of every new map; it never runs inside {@link follow}. */
  constructor(log: Logger, counters: FetchCounters, changed: (keySets: KeySetMap) => void) {
    this.log = log
    this.counters = counters
    this.changed = changed
  }

  /** Fetches what is newly named, forgets what is named no more. */
  follow(policies: readonly RequestAuthentication[]): void {
    const wanted = new Map<string, number>()
    for (const rule of policies.flatMap((policy) => policy.spec.jwtRules ?? [])) {
      const source = keySetSource(rule)
      if (source !== undefined) wanted.set(source, rule.timeout ?? DEFAULT_TIMEOUT_MS)
    }
    for (const [url, source] of this.sources) {
      if (wanted.has(url)) continue
      if (source.timer) clearTimeout(source.timer)
      this.sources.delete(url)
    }
    for (const [url, timeoutMs] of wanted) {
      if (this.sources.has(url)) continue
      const source: Source = { timeoutMs, timer: null }
      this.sources.set(url, source)
      void this.refresh(url, source)
    }
  }

  close(): void {
    this.stopping.abort()
    for (const { timer } of this.sources.values()) if (timer) clearTimeout(timer)
    this.sources.clear()
  }

  private async refresh(url: string, source: Source): Promise<void> {
    let nextMs = REFRESH_MS
    try {
      const document = await fetchKeySet(url, source.timeoutMs, this.stopping.signal)
      this.counters.fetched.inc()
      if (this.sources.get(url) === source && this.keySets.get(url) !== document) {
        this.keySets = new Map([...this.keySets].filter(([known]) => this.sources.has(known))).set(url, document)
        this.changed(this.keySets)
      }
    } catch (error) {
      nextMs = RETRY_MS
      if (!this.stopping.signal.aborted) {
        this.counters.failed.inc()
        this.log.warn(
          { url, reason: fetchFailure(error) },
          'JSON Web Key Set could not be fetched; trying again in a minute',
        )
      }
    }
    if (this.sources.get(url) !== source || this.stopping.signal.aborted) return
    source.timer = setTimeout(() => void this.refresh(url, source), nextMs)
    source.timer.unref()
  }
}

/** The key set at `url`; an OpenID discovery document is followed once. Throws with the reason. */
async function fetchKeySet(url: string, timeoutMs: number, stop: AbortSignal): Promise<string> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(timeoutMs)])
  const document = await fetchJson(url, signal)
  if (!url.endsWith(DISCOVERY_PATH)) return checked(document, url)
  const { jwks_uri: keys } = JSON.parse(document) as { jwks_uri?: unknown }
  if (typeof keys !== 'string') throw new Error(`${url} names no jwks_uri`)
  return checked(await fetchJson(keys, signal), keys)
}

/** A set without a key that proxies can use is refused here: they would refuse it, and with it every listener. */
function checked(document: string, url: string): string {
  const keys = parseKeySet(document)
  if (typeof keys === 'string') throw new Error(`${url}: ${keys}`)
  return document
}

/** fetch says "fetch failed" of everything; why stands behind it. */
function fetchFailure(error: unknown): string {
  const { cause } = error as { cause?: unknown }
  return cause instanceof Error ? `${errorText(error)}: ${cause.message}` : errorText(error)
}

async function fetchJson(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, { signal, headers: { accept: 'application/json' } })
  if (!response.ok) throw new Error(`${url} answered ${response.status}`)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > MAX_BYTES) throw new Error(`${url} sent more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

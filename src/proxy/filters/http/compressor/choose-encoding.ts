// Which content coding a response gets: what the client accepts (RFC 9110 §12.5.3) among what the chain has.

/** A compressor of the chain, in its order. */
export interface Offer {
  readonly encoding: string
  /** Preferred among codings of equal weight. */
  readonly chooseFirst: boolean
}

export interface EncodingDecision {
  readonly encoding: string
  readonly reason: 'compressor' | 'identity' | 'wildcard' | 'not_valid'
}

const NONE: EncodingDecision = { encoding: 'identity', reason: 'not_valid' }

export function chooseEncoding(acceptEncoding: string, offers: readonly Offer[]): EncodingDecision {
  const allowed = new Map<string, Offer>()
  for (const offer of offers) if (!allowed.has(offer.encoding)) allowed.set(offer.encoding, offer)
  const accepted = parseAcceptEncoding(acceptEncoding)
  for (const { coding, weight } of accepted) if (weight === 0) allowed.delete(coding)
  if (accepted.length === 0 || allowed.size === 0) return NONE
  let best = ''
  let bestWeight = 0
  for (const { coding, weight } of accepted) {
    if (!allowed.has(coding) && coding !== 'identity' && coding !== '*') continue
    if (weight > bestWeight || (weight === bestWeight && allowed.get(coding)?.chooseFirst)) {
      best = coding
      bestWeight = weight
    }
  }
  if (bestWeight === 0) return NONE
  if (best === 'identity') return { encoding: best, reason: 'identity' }
  if (best === '*') return { encoding: [...allowed.keys()][0]!, reason: 'wildcard' }
  return { encoding: best, reason: 'compressor' }
}

/** Codings and weights; one whose weight is no number is left out. */
function parseAcceptEncoding(text: string): { coding: string; weight: number }[] {
  const accepted: { coding: string; weight: number }[] = []
  for (const token of text.split(',')) {
    if (token === '') continue
    const semicolon = token.indexOf(';')
    const coding = (semicolon < 0 ? token : token.slice(0, semicolon)).trim()
    let weight = 1
    if (semicolon >= 0) {
      const parameter = token.slice(semicolon + 1)
      const equals = parameter.indexOf('=')
      if (equals >= 0 && parameter.slice(0, equals).trim().toLowerCase() === 'q') {
        const value = parameter.slice(equals + 1).trim()
        weight = Number(value)
        if (value === '' || Number.isNaN(weight)) continue
      }
    }
    accepted.push({ coding, weight })
  }
  return accepted
}

// JWKS documents that the control plane fetched: proxies get them inline and need no way out.

/** A key set whose private key nobody has: with it every token fails instead of passing unchecked. */
export const UNREACHABLE_KEY_SET =
  '{"keys":[{"e":"AQAB","kid":"unreachable","kty":"RSA","n":"xgaMXJprwJNA_cXis1CX3uBnppquoZgs90BtLzNCW_mVdiYtcPj1p8zuFtwb1X0fYl2hUNNQdO-4udtOI9ux3NUnGHoZuvr486GJruKBOUf2BW3tfpZeoznl7e-ZxAlPeNNEmuCTqYuxGexkrt1hJayLB4uE67rj-Iq-L2EapFNiWJdb729As8vDopsjjrBMJXk9TNbFv686j8CSA9F4SjFTS2PNOPN9TJPaXiidAxriPgOXSRxlM-JibiWo1_4aydA65alMXPMFAHfvLtHH_oTjtUdTREBSHpglQt2At-mKePf_vBaH3E9ft9XpGypdGSJb7UZuGkx0P7NhyqnPGw"}]}'

const documents = new Map<string, string>()

/** Where a rule's keys come from; OpenID discovery is read by the fetcher. */
export function keySetSource(issuer: string, jwksUri: string | undefined): string {
  return jwksUri || `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
}

/** The document fetched last, or undefined while there is none. */
export function cachedKeySet(issuer: string, jwksUri: string | undefined): string | undefined {
  return documents.get(keySetSource(issuer, jwksUri))
}

/** Takes what a fetch brought. Returns whether it differs from what was known: proxies then need a push. */
export function storeKeySet(source: string, document: string): boolean {
  if (documents.get(source) === document) return false
  documents.set(source, document)
  return true
}

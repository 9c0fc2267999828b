// Base64 as strictly as Envoy reads it.

const ALPHABET = /^[A-Za-z0-9+/]*={0,2}$/

/** The bytes of groups of four characters, padded at the very end only and without stray bits; null = it is no such text. */
export function decodeBase64(text: Buffer): Buffer | null {
  const characters = text.toString('latin1')
  if (text.length === 0 || text.length % 4 !== 0 || !ALPHABET.test(characters)) return null
  const decoded = Buffer.from(characters, 'base64')
  return decoded.length > 0 && decoded.toString('base64') === characters ? decoded : null
}

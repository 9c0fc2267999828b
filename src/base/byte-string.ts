// Byte strings: one char per byte, as parsers make of header values, so that nothing is decoded that nobody asked about.

/** UTF-16 text as its UTF-8 bytes, one char per byte; ASCII comes back as it is. */
export function byteString(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1')
  }
  return text
}

/** Only the letters A to Z become small ones: bytes above 0x7f are parts of characters. */
export function asciiLowerCase(text: string): string {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return lowerEach(text)
  return text.toLowerCase()
}

function lowerEach(text: string): string {
  let out = ''
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    out += String.fromCharCode(code >= 65 && code <= 90 ? code + 32 : code)
  }
  return out
}

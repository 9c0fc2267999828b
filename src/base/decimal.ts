// Numbers as headers carry them.

const MAX_UNSIGNED_64 = 0xffff_ffff_ffff_ffffn

/** A whole decimal number of at most 64 bits, blanks around it and a plus in front of it left out, or null. */
export function unsigned64(text: string): bigint | null {
  const digits = /^[ \t\n\v\f\r]*\+?(\d+)[ \t\n\v\f\r]*$/.exec(text)?.[1]
  if (digits === undefined) return null
  const value = BigInt(digits)
  return value > MAX_UNSIGNED_64 ? null : value
}

/** A whole decimal number, or null. */
export function decimal(text: string | undefined): number | null {
  if (text === undefined || text === '') return null
  let value = 0
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return null
    value = value * 10 + digit
  }
  return value
}

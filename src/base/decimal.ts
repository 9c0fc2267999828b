// Numbers as headers carry them.

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

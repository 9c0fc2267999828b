/**
 * The same text as the string that stands for it in V8's string table, as literals do. Two such strings are compared by
 * address; comparing others is a call, and a request compares header names some two hundred times. Costs an object: call
 * it where the result is kept.
 */
export function intern(text: string): string {
  return Object.keys({ [text]: 0 })[0] ?? text
}

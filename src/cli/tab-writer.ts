// Tables as Go's text/tabwriter lays them out: cells end with a tab, a column is as wide as its widest cell plus padding,
// the text after the last tab of a line is not padded.

/** Aligns rows; the last cell of a row is its trailing text. `padding` spaces follow the widest cell of a column. */
export function tabulate(rows: readonly (readonly string[])[], padding: number): string {
  const widths: number[] = []
  for (const row of rows) {
    for (let i = 0; i < row.length - 1; i++) widths[i] = Math.max(widths[i] ?? 0, [...row[i]!].length + padding)
  }
  let out = ''
  for (const row of rows) {
    for (let i = 0; i < row.length - 1; i++) out += row[i]! + ' '.repeat(widths[i]! - [...row[i]!].length)
    out += `${row.at(-1) ?? ''}\n`
  }
  return out
}

// Results remembered beside the immutable object they were made from, and collected with it.

/** More than this many variants of one object mean that nobody comes back for the old ones. */
const VARIANTS = 256

interface Known<Value> {
  readonly inputs: readonly unknown[]
  readonly value: Value
}

/** A memo of values made from one `Owner`: of each variant the last one, as long as its inputs are the same objects. */
export class Memo<Owner extends object, Value> {
  private readonly values = new WeakMap<Owner, Map<string, Known<Value>>>()

  /** The value for owner, variant and inputs (together they name everything it depends on), else made by `make`. */
  get(owner: Owner, variant: string, inputs: readonly unknown[], make: () => Value): Value {
    let variants = this.values.get(owner)
    if (!variants) this.values.set(owner, (variants = new Map()))
    const known = variants.get(variant)
    if (known !== undefined && same(known.inputs, inputs)) return known.value
    const value = make()
    if (variants.size >= VARIANTS && known === undefined) variants.clear()
    variants.set(variant, { inputs, value })
    return value
  }
}

function same(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

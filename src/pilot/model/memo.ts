// Results remembered beside the immutable object they were made from, and collected with it.

/** More than this many variants of one object mean that nobody comes back for the old ones. */
const VARIANTS = 16

/** A memo of values made from one `Owner` and a key that names every other input. */
export class Memo<Owner extends object, Value> {
  private readonly values = new WeakMap<Owner, Map<string, Value>>()

  /** The value for owner and key, made by `make` the first time. */
  get(owner: Owner, key: string, make: () => Value): Value {
    let variants = this.values.get(owner)
    if (!variants) this.values.set(owner, (variants = new Map()))
    let value = variants.get(key)
    if (value === undefined) {
      value = make()
      if (variants.size >= VARIANTS) variants.clear()
      variants.set(key, value)
    }
    return value
  }
}

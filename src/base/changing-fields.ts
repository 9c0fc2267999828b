// Tells V8 which fields change.
//
// V8 takes a field for a constant until an object of its class has had it changed, and for one type until it has seen
// another, and compiles both into all code that reads it. What changes only when a client goes away in the middle of a
// request (`abandoned`, `closed`, the flags) so turns out to be no constant under load: then everything that read it is
// thrown away and compiled anew, on the core that requests need. An object whose fields have all changed once, made
// before there is load, spares that. It has to stay: what V8 knows of a class goes with the last object of it, and the
// first one that serves a request may come much later.

const kept: object[] = []

/** `object` has the last shape of its class: the class keeps it from now on, also while there is no other object of it. */
export function keepShape(object: object): void {
  kept.push(object)
}

/**
 * Changes every field that holds a flag, a number, a text or null, and puts back what it held. Objects stay as they are:
 * what an object belongs to is constant. To be called with an object that nobody uses yet.
 */
export function changeEveryField(object: object): void {
  const fields = object as Record<string, unknown>
  for (const key of Object.keys(fields)) {
    const value = fields[key]
    const other = another(value)
    if (other === undefined) continue
    fields[key] = other
    fields[key] = value
  }
  keepShape(object)
}

const NOTHING = {}

/** Of the same representation; undefined = the field may well be a constant. */
function another(value: unknown): unknown {
  if (value === null) return NOTHING
  if (typeof value === 'boolean') return !value
  if (typeof value === 'number') return value === 0 ? 1 : 0
  if (typeof value === 'string') return value === '' ? '-' : ''
  return undefined
}

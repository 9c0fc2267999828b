// Objects whose keys come from configuration or from peers. Every object has `constructor`, `__proto__` and a few more from
// its prototype; what is written through those is written to all objects of the process.

/** The object's own value; undefined where there is none, whatever its prototype has under that name. */
export function ownValue<T>(object: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** As `object[key] = value`, for any key. */
export function setOwnValue<T>(object: Record<string, T>, key: string, value: T): void {
  if (key !== '__proto__') object[key] = value
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
}

/** The object below `key`, made when it is not there. */
export function ownObject<T>(object: Record<string, Record<string, T>>, key: string): Record<string, T> {
  const known = ownValue(object, key)
  if (known !== undefined) return known
  const made: Record<string, T> = {}
  setOwnValue(object, key, made)
  return made
}

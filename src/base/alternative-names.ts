// Subject alternative names of a certificate, out of the text that Node makes of them.

export interface AlternativeNames {
  /** All of the kinds below, in the certificate's order. */
  readonly all: readonly string[]
  readonly uri: readonly string[]
  readonly dns: readonly string[]
  readonly ip: readonly string[]
  readonly email: readonly string[]
}

/** One `kind:value`, from where the last one ended; a value with special characters is a JSON string. */
const ENTRY = /([^:,"]+):(?:("(?:[^"\\]|\\.)*")|([^,"]*))(?:, |$)/y
const KINDS: Readonly<Record<string, 'uri' | 'dns' | 'ip' | 'email'>> = {
  URI: 'uri',
  DNS: 'dns',
  'IP Address': 'ip',
  email: 'email',
}

/**
 * Reads Node's `URI:…, DNS:…`. Entry by entry, those of other kinds too: an otherName or a directory name may hold a text
 * that looks like a URI, and must never become one. What follows an entry that cannot be read does not count.
 */
export function alternativeNames(text: string | undefined): AlternativeNames {
  const names = {
    all: [] as string[],
    uri: [] as string[],
    dns: [] as string[],
    ip: [] as string[],
    email: [] as string[],
  }
  ENTRY.lastIndex = 0
  for (let entry = ENTRY.exec(text ?? ''); entry !== null; entry = ENTRY.exec(text ?? '')) {
    const [, kind, quoted, plain] = entry
    const list = Object.hasOwn(KINDS, kind!) ? KINDS[kind!] : undefined
    if (list === undefined) continue
    const value = quoted === undefined ? plain!.trim() : (JSON.parse(quoted) as string)
    names.all.push(value)
    names[list].push(value)
  }
  return names
}

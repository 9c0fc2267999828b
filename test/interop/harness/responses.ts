// Responses on the wire in a form that can be compared: how a body was cut into chunks is nobody's business.

/** Chunks joined; `decoded` may make another body of it. */
export function joinChunks(
  received: string,
  decoded: (head: string, body: string) => string = (_, body) => body,
): string {
  let out = ''
  let rest = received
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n') + 4
    const head = rest.slice(0, end)
    rest = rest.slice(end)
    let body = ''
    if (head.includes('transfer-encoding: chunked')) {
      for (;;) {
        const line = rest.indexOf('\r\n')
        const size = Number.parseInt(rest.slice(0, line), 16)
        if (!(size > 0)) break
        body += rest.slice(line + 2, line + 2 + size)
        rest = rest.slice(line + 4 + size)
      }
      const last = rest.indexOf('\r\n\r\n') + 4
      out += head + decoded(head, body) + rest.slice(0, last)
      rest = rest.slice(last)
      continue
    }
    const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0)
    out += head + rest.slice(0, length)
    rest = rest.slice(length)
  }
  return out
}

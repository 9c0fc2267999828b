// What two proxies may print differently for the same exchange: times, identifiers, ports, how a body was cut into chunks.

/** `text` without them. */
export function normal(text: string, id: string, listenerPort: number): string {
  return (
    joinChunks(text)
      .replaceAll(id, 'ID')
      .replace(/^(x-envoy-upstream-service-time|x-envoy-expected-rq-timeout-ms): \d+/gim, '$1: N')
      .replace(/^(date): (?!Thu, 01 Jan 1970)[^\r\n]*/gim, '$1: NOW')
      .replace(/^(x-request-id): (?!1111)[0-9a-f-]{36}/gim, '$1: UUID')
      .replace(/^(x-client-trace-id): [0-9a-f-]{36}/gim, '$1: UUID')
      // Envoy restores the scheme of a redirect that it does not follow as `http,https`.
      .replace(/"scheme":"\w+,/, '"scheme":"')
      // Envoy hands on all chunks of one read as one, also to a filter that has had enough with the first.
      .replace(/("code":413,.*"rx":)\d+/, '$1N')
      .replaceAll(`:${listenerPort}`, ':LISTENER')
      .replace(/^(x-forwarded-port): (?!99)\d+/gim, '$1: PORT')
  )
}

/** Chunked bodies as one chunk each. */
function joinChunks(text: string): string {
  const head = /transfer-encoding: chunked\r\n(?:[^\r\n]+\r\n)*\r\n/gi
  let out = ''
  let done = 0
  for (let found = head.exec(text); found; found = head.exec(text)) {
    let at = head.lastIndex
    out += text.slice(done, at)
    let body = ''
    for (;;) {
      const size = /^([0-9a-f]+)\r\n/i.exec(text.slice(at, at + 20))
      if (!size) break
      const length = Number.parseInt(size[1]!, 16)
      if (length === 0) break
      body += text.slice(at + size[0].length, at + size[0].length + length)
      at += size[0].length + length + 2
    }
    out += body === '' ? '' : `[${body.length}] ${body}\r\n`
    done = at
    head.lastIndex = at
  }
  return out + text.slice(done)
}

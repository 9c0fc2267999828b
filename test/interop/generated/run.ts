// `INTEROP_SEED=N INTEROP_REQUESTS=N INTEROP_TRAFFIC=NAME npm run interop:generated`: any seed or seeds (`3`, `1-60`), any
// amount; `HTTP/1`, `HTTP/2`, `TLS` or all of them. A part of it runs always (generated.test.ts).

import { compareGenerated } from './compare.ts'
import { HTTP1 } from './http1-traffic.ts'
import { HTTP2 } from './http2-traffic.ts'
import { Certificates, overTls } from './tls-traffic.ts'

const wanted = (name: string): boolean => [undefined, name].includes(process.env.INTEROP_TRAFFIC)
const kinds = [HTTP1, HTTP2].filter(({ name }) => wanted(name))
const [first = 0, last = first] = (process.env.INTEROP_SEED ?? '20260822').split('-').map(Number)
const count = Number(process.env.INTEROP_REQUESTS ?? 1500)
const certificates = wanted('TLS') ? new Certificates() : null
for (let seed = first; seed <= last; seed++) {
  if (kinds.length > 0) compareGenerated(seed, count, kinds)
  if (certificates) compareGenerated(seed, count, [overTls(certificates)], certificates.transportSocket)
}

// `INTEROP_SEED=N INTEROP_REQUESTS=N INTEROP_TRAFFIC=NAME npm run interop:generated`: any seed or seeds (`3`, `1-60`), any
// amount, HTTP/2 too. A part of it runs always (generated.test.ts).

import { compareGenerated } from './compare.ts'
import { HTTP1 } from './http1-traffic.ts'
import { HTTP2 } from './http2-traffic.ts'

const kinds = [HTTP1, HTTP2].filter(({ name }) => [undefined, name].includes(process.env.INTEROP_TRAFFIC))
const [first = 0, last = first] = (process.env.INTEROP_SEED ?? '20260822').split('-').map(Number)
for (let seed = first; seed <= last; seed++) compareGenerated(seed, Number(process.env.INTEROP_REQUESTS ?? 1500), kinds)

// A bounded part of what `npm run interop:generated` runs: the same seeds each time.

import { compareGenerated } from './compare.ts'
import { HTTP1 } from './http1-traffic.ts'
import { HTTP2 } from './http2-traffic.ts'
import { Certificates, overTls } from './tls-traffic.ts'

for (const seed of [1, 4]) compareGenerated(seed, 300, [HTTP1])
for (const seed of [5, 7]) compareGenerated(seed, 300, [HTTP2])
const certificates = new Certificates()
compareGenerated(9, 150, [overTls(certificates)], certificates.transportSocket)

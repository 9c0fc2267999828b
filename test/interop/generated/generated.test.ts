// A bounded part of what `npm run interop:generated` runs: the same seeds each time. HTTP/2 is not part of it yet since
// the configurations have filters: some of what they make of it differs from Envoy.

import { compareGenerated } from './compare.ts'
import { HTTP1 } from './http1-traffic.ts'

for (const seed of [1, 4]) compareGenerated(seed, 300, [HTTP1])

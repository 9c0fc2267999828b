// Random scripts of frames, the same each time; `INTEROP_SEED=N INTEROP_REQUESTS=N npm run interop:frames`: any seed, any
// amount. What they found runs by itself, too (found.test.ts, header-blocks.test.ts).

import { compareScripts } from './compare.ts'

compareScripts(Number(process.env.INTEROP_SEED ?? 20261128), Number(process.env.INTEROP_REQUESTS ?? 150))

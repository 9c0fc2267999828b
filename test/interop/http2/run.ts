// `INTEROP_SEED=N INTEROP_REQUESTS=N npm run interop:frames`: any seed, any amount. What it found runs always
// (found.test.ts); a few scripts in a hundred still differ or depend on the moment.

import { compareScripts } from './compare.ts'

compareScripts(Number(process.env.INTEROP_SEED ?? 20261128), Number(process.env.INTEROP_REQUESTS ?? 600))

// `INTEROP_SEED=N INTEROP_REQUESTS=N npm run interop:frames`: any seed, any amount. A part of it runs always
// (frames.test.ts).

import { compareScripts } from './compare.ts'

compareScripts(Number(process.env.INTEROP_SEED ?? 20261128), Number(process.env.INTEROP_REQUESTS ?? 600))

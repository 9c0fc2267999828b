// A bounded part of what `npm run interop:frames` runs: the same seeds each time.

import { compareScripts } from './compare.ts'

for (const seed of [3, 4]) compareScripts(seed, 150)

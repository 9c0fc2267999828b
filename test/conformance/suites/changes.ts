// Random meshes that change while proxies follow over delta ADS: what each then holds is what a new proxy is told. Run by hand
// over other seeds, and with istiod as the judge of what new proxies are told: npm run istiod:differential -- --changes.
import { differencesFollowing } from '../differential/following.ts'
import { generateCase, TOPICS } from '../differential/generate/case.ts'
import { changed } from '../differential/generate/change.ts'
import { acceptable } from '../differential/ours.ts'
import type { Difference, Suite } from '../suite.ts'

const FIRST_SEED = 1
const CASES = 40

export const suite: Suite = {
  name: 'changes',
  run: async () => {
    const differences: Difference[] = []
    for (let seed = FIRST_SEED; seed < FIRST_SEED + CASES; seed++) {
      const before = acceptable(generateCase(seed, TOPICS), new Map())
      const after = acceptable({ ...before, objects: changed(before, seed, TOPICS) }, new Map())
      for (const { proxy, difference } of await differencesFollowing(before, after)) {
        const lines = [difference.signature, ...difference.lines]
        differences.push({ id: `${seed}/${proxy.name}`, message: lines.join('\n') })
      }
    }
    return { total: CASES, differences }
  },
}

// `x check-inject` over combinations of webhooks and labels, word for word as real istioctl said (check-inject/record.ts).
import { readFileSync } from 'node:fs'
import { injectorTable, judgeInjectors } from '../../../src/cli/injectors.ts'
import { CASES, RECORDED, type Recorded } from '../check-inject/cases.ts'
import type { Difference, Suite } from '../suite.ts'

export const suite: Suite = {
  name: 'istioctl-check-inject',
  async run() {
    const recorded = JSON.parse(readFileSync(RECORDED, 'utf8')) as Recorded
    const differences: Difference[] = []
    for (const { id, injectors, namespace, pod } of CASES) {
      const labels = Object.fromEntries(pod.split(',').map((pair) => pair.split('=') as [string, string]))
      const ours = injectorTable(judgeInjectors(injectors, labels, namespace))
      if (ours !== recorded[id]) differences.push({ id, message: `printed\n${ours}instead of\n${recorded[id]}` })
    }
    return { total: CASES.length, differences }
  },
}

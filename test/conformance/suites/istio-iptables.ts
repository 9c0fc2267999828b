// Capture rules: what istio-iptables feeds to iptables-restore for recorded flags.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { captureConfigOf } from '../../../src/agent/iptables/flags.ts'
import { groupByTable, type TableRules } from '../../../src/agent/iptables/restore.ts'
import { buildCapturePlan } from '../../../src/agent/iptables/rules.ts'
import type { Difference, Suite } from '../suite.ts'

interface Case {
  readonly id: string
  readonly flags: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly host: {
    readonly ipv6: boolean
    readonly dnsServersV4?: readonly string[]
    readonly dnsServersV6?: readonly string[]
  }
  readonly golden: string
  readonly restore: readonly TableRules[]
}

/** One case was recorded without its nameserver; the answer names it. */
function nameserver(golden: string): readonly string[] {
  const match = /-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -d ([\d.]+)\/32/.exec(golden)
  return match === null ? [] : [match[1]!]
}

export const suite: Suite = {
  name: 'istio-iptables',
  async run(dataDirectory) {
    const file = JSON.parse(await readFile(join(dataDirectory, 'conformance/istio-iptables.json'), 'utf8')) as {
      cases: Case[]
    }
    const differences: Difference[] = []
    for (const { id, flags, env, host, golden, restore } of file.cases) {
      const plan = buildCapturePlan(captureConfigOf(flags, env), {
        ipv6: host.ipv6,
        dnsServersV4: host.dnsServersV4 ?? nameserver(golden),
        dnsServersV6: host.dnsServersV6 ?? [],
      })
      const actual = [...groupByTable(plan.ipv4), ...groupByTable(plan.ipv6)].flatMap(lines)
      const expected = restore.flatMap(lines)
      const at = expected.findIndex((line, i) => line !== actual[i])
      if (at >= 0 || actual.length !== expected.length) {
        const i = at < 0 ? expected.length : at
        differences.push({
          id,
          message: `line ${i + 1}: got ${actual[i] ?? 'nothing'}, want ${expected[i] ?? 'nothing'}`,
        })
      }
    }
    return { total: file.cases.length, differences }
  },
}

function lines({ table, rules }: TableRules): string[] {
  return [`* ${table}`, ...rules]
}

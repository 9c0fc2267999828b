// Configuration that proxies refuse, told to whoever applied it.
import type { Refusal } from '../pilot/index.ts'
import type { ManifestProblem } from './manifest.ts'

const TYPES: Readonly<Record<string, string>> = {
  cds: 'clusters',
  ecds: 'filters',
  eds: 'endpoints',
  lds: 'listeners',
  rds: 'routes',
}

export function refusalKey({ proxy, type, reason }: Refusal): string {
  return `${proxy} ${type} ${reason}`
}

/** One problem for each reason, whichever proxies say it. */
export function refusalProblems(refusals: readonly Refusal[]): ManifestProblem[] {
  const byReason = new Map<string, Refusal[]>()
  for (const refusal of refusals) {
    const key = `${refusal.type} ${refusal.reason}`
    const list = byReason.get(key)
    if (list) list.push(refusal)
    else byReason.set(key, [refusal])
  }
  return [...byReason.values()].map((list) => {
    const [{ type, reason, proxy }] = list as [Refusal]
    const others = list.length - 1
    const who = others === 0 ? proxy : `${proxy} and ${others} ${others === 1 ? 'other' : 'others'}`
    const what = TYPES[type] ?? type
    const said = reason.replaceAll(/\s*\n\s*/g, ' ').trim()
    return {
      file: '',
      line: 0,
      level: 'error',
      message: `applied, but refused by ${who}, which ${others === 0 ? 'keeps its' : 'keep their'} last good ${what}: ${said}`,
    }
  })
}

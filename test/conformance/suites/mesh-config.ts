import { readFileSync } from 'node:fs'
import type { JsonValue } from '@bufbuild/protobuf'
import { parse } from 'yaml'
import { meshConfigJson, parseMeshConfig } from '../../../src/config/index.ts'
import { compareJson } from '../compare.ts'
import { type MeshAnswer, meshCases, meshFields, RECORDED } from '../mesh-config/mesh-cases.ts'
import type { Difference, Suite } from '../suite.ts'

/** First values of enumerations: protobuf JSON leaves them out. */
const ZEROS: ReadonlySet<JsonValue> = new Set([
  ...['TEXT', 'REGISTRY_ONLY', 'PASSTHROUGH', 'UNSPECIFIED', 'DO_NOT_UPGRADE', 'APP_LABEL_AND_NAMESPACE', 'NONE'],
  ...['REDIRECT', 'DEFAULT', 'TLS_AUTO', 'SIDECAR', 'UNDEFINED', 'DISABLE', 'LOCAL', 'USE_B3', 'ISTIO_CANONICAL'],
  ...['VISIBILITY_UNSPECIFIED', 'SERVICE_REGISTRY', '', '0', '0s', false],
])

/** MeshConfigs that istiod takes or refuses, what is in force then, defaults included, and that every field is known. */
export const suite: Suite = {
  name: 'mesh-config',
  run: async () => {
    const answers = JSON.parse(readFileSync(RECORDED, 'utf8')) as Record<string, MeshAnswer>
    const cases = meshCases()
    const differences: Difference[] = []
    for (const { id, yaml } of cases) {
      const wanted = answers[id]
      if (!wanted)
        throw new Error(`${id} is not recorded: node test/conformance/mesh-config/record.ts .istiod/discovery`)
      const message = compare(yaml, wanted)
      if (message) differences.push({ id, message })
    }
    const fields = meshFields()
    for (const path of fields) {
      const { warnings } = parseMeshConfig(holding(path))
      if (warnings.some(({ message }) => message.startsWith('unknown field')))
        differences.push({ id: `field ${path}`, message: 'is not known' })
    }
    return { total: cases.length + fields.length, differences }
  },
}

/** A MeshConfig that names the field, and says nothing in it. */
function holding(path: string): unknown {
  return path.split('.').reduceRight<unknown>((value, part) => {
    const name = part.replace(/\[\]$|\{\}$/, '')
    if (value === null) return { [name]: null }
    return { [name]: part.endsWith('[]') ? [value] : part.endsWith('{}') ? { key: value } : value }
  }, null)
}

function compare(yaml: string, wanted: MeshAnswer): string | undefined {
  const ours = parseMeshConfig(parse(yaml))
  if (!ours.ok) {
    const problems = ours.problems.map((p) => `${p.path} ${p.message}`).join('; ')
    return 'error' in wanted ? undefined : `refused: ${problems}`
  }
  if ('error' in wanted) return `accepted, want ${wanted.error}`
  const [got, want] = [normal(meshConfigJson(ours.value) as JsonValue), normal(wanted.mesh)]
  return compareJson(got, want).join('\n') || undefined
}

/** Without what protobuf JSON leaves out, durations and 64-bit numbers in one form. */
function normal(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(normal)
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([key, inner]): [string, JsonValue] => [key, normal(inner)])
    return Object.fromEntries(
      entries.filter(([, inner]) => !ZEROS.has(inner) && !(Array.isArray(inner) && inner.length === 0)),
    )
  }
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' && /^-?\d+(\.\d+)?s$/.test(value) ? `${Number.parseFloat(value)}s` : value
}

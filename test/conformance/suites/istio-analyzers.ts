// Analyzer messages: code, level and origin of each recorded case for its own analyzer.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { ANALYZERS, type AnalysisItem, analyze } from '../../../src/config/analysis/index.ts'
import type { Difference, Suite } from '../suite.ts'

interface Expected {
  readonly code: string
  readonly level: string
  readonly origin: string
}

interface Case {
  readonly id: string
  readonly analyzer: string
  readonly files: readonly { name: string; text: string }[]
  readonly meshConfig: string | null
  readonly meshNetworks: string | null
  readonly expected: readonly Expected[]
}

/** Names of analyzers by those of their Go types, where they differ: the records have the types'. */
const NAMES: Readonly<Record<string, string>> = {
  'authz.AuthorizationPoliciesAnalyzer': 'auth.AuthorizationPoliciesAnalyzer',
  'deployment.ApplicationUIDAnalyzer': 'applicationUID.Analyzer',
  'deployment.ServiceAssociationAnalyzer': 'deployment.MultiServiceAnalyzer',
  'deprecation.FieldAnalyzer': 'deprecation.DeprecationAnalyzer',
  'destinationrule.PodNotSelectedAnalyzer': 'destinationrule.SubsetSelectPodAnalyzer',
  'maturity.AlphaAnalyzer': 'annotations.AlphaAnalyzer',
  'multicluster.MeshNetworksAnalyzer': 'meshnetworks.MeshNetworksAnalyzer',
  'serviceentry.ProtocolAddressesAnalyzer': 'serviceentry.Analyzer',
  'telemetry.SelectorAnalyzer': 'telemetry.',
  'schemaValidation.CollectionValidationAnalyzer': 'schema.ValidationAnalyzer',
}

function isOfType(name: string, type: string): boolean {
  const wanted = NAMES[type] ?? type
  const whole = wanted === 'telemetry.' ? /^telemetry\.(Default)?SelectorAnalyzer$/.test(name) : name === wanted
  return whole || (wanted === 'schema.ValidationAnalyzer' && name.startsWith(`${wanted}.`))
}

function items(test: Case): AnalysisItem[] {
  return test.files.flatMap(({ text }) =>
    parseAllDocuments(text)
      .map((document) => document.toJS() as AnalysisItem['object'] | null)
      .flatMap((object) => (object?.kind === 'List' ? (object.items as AnalysisItem['object'][]) : [object]))
      .filter((object) => object?.kind !== undefined)
      .map((object) => ({
        object: object!,
        hasNamespace: object!.metadata.namespace !== undefined,
        reference: () => '',
      })),
  )
}

/** MeshNetworks as an object of its own: it is no Kubernetes resource. */
function meshNetworks(test: Case): AnalysisItem[] {
  if (test.meshNetworks === null) return []
  const metadata = { name: 'meshnetworks', namespace: 'istio-system' }
  const object = {
    apiVersion: 'v1',
    kind: 'MeshNetworks',
    metadata,
    ...parseAllDocuments(test.meshNetworks)[0]!.toJS(),
  }
  return [{ object, hasNamespace: true, reference: () => '' }]
}

function meshSettings(meshConfig: string | null): { proxyMetadata: Record<string, string>; imageType?: string } {
  if (meshConfig === null) return { proxyMetadata: {} }
  const { defaultConfig } = parseAllDocuments(meshConfig)[0]!.toJS() as {
    defaultConfig?: { proxyMetadata?: Record<string, unknown>; image?: { imageType?: string } }
  }
  const metadata = Object.entries(defaultConfig?.proxyMetadata ?? {}).map(([key, value]) => [key, String(value)])
  return {
    proxyMetadata: Object.fromEntries(metadata) as Record<string, string>,
    imageType: defaultConfig?.image?.imageType,
  }
}

function compare(test: Case): string | null {
  const analyzers = ANALYZERS.filter(({ name }) => isOfType(name, test.analyzer))
  if (analyzers.length === 0) return `no analyzer ${test.analyzer}`
  const messages = analyze(
    [...items(test), ...meshNetworks(test)],
    {
      namespace: 'default',
      istioNamespace: 'istio-system',
      rootNamespace: 'istio-system',
      ...meshSettings(test.meshConfig),
    },
    analyzers,
  )
  const text = (list: readonly Expected[]) =>
    list
      .map((m) => `${m.code} ${m.level} ${m.origin}`)
      .sort()
      .join('\n')
  const [got, want] = [text(messages), text(test.expected)]
  return got === want ? null : `found\n${got}\ninstead of\n${want}`
}

export const suite: Suite = {
  name: 'istio-analyzers',
  async run(dataDirectory) {
    const file = JSON.parse(await readFile(join(dataDirectory, 'conformance/istio-analyzers.json'), 'utf8')) as {
      cases: Case[]
    }
    const differences: Difference[] = []
    for (const test of file.cases) {
      const difference = compare(test)
      if (difference !== null) differences.push({ id: test.id, message: difference })
    }
    return { total: file.cases.length, differences }
  },
}

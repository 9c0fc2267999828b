import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DescMessage, JsonValue, Message } from '@bufbuild/protobuf'
import { parse } from 'yaml'
import { FilterSchema } from '../../../src/api/gen/envoy/config/listener/v3/listener_components_pb.js'
import { HttpFilterSchema } from '../../../src/api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { KubeObject } from '../../../src/cluster/index.ts'
import { type AuthorizationPolicy, parseMeshConfig } from '../../../src/config/index.ts'
import { policiesFor } from '../../../src/pilot/authorization/select.ts'
import { authorizationHttpFilters, authorizationNetworkFilters } from '../../../src/pilot/authorization/workload.ts'
import { compareJson } from '../compare.ts'
import { messageJson, pushContextOf, readObjects } from '../pilot.ts'
import type { Difference, Suite } from '../suite.ts'

interface Case {
  readonly id: string
  readonly protocol: 'http' | 'tcp'
  readonly trustDomain: string | null
  readonly trustDomainAliases: readonly string[] | null
  readonly meshConfig: Record<string, unknown> | null
  readonly input: string
  readonly want: readonly string[]
}

interface File {
  readonly workload: { readonly namespace: string; readonly labels: Record<string, string> }
  readonly services: readonly string[]
  readonly cases: readonly Case[]
}

/** AuthorizationPolicies in, the filters that istiod builds out. */
export const suite: Suite = {
  name: 'istio-authz',
  run: async (dataDirectory) => {
    const file = JSON.parse(readFileSync(join(dataDirectory, 'conformance', 'istio-authz.json'), 'utf8')) as File
    const differences: Difference[] = []
    for (const test of file.cases) {
      const want = test.want.map((text) => parse(text) as JsonValue)
      const lines = compareJson(filtersOf(test, file), want)
      if (lines.length > 0) differences.push({ id: test.id, message: lines.join('\n') })
    }
    return { total: file.cases.length, differences }
  },
}

function filtersOf(test: Case, { workload, services }: File): JsonValue {
  const mesh = parseMeshConfig({
    ...test.meshConfig,
    ...(test.trustDomain ? { trustDomain: test.trustDomain } : {}),
    ...(test.trustDomainAliases ? { trustDomainAliases: test.trustDomainAliases } : {}),
  })
  if (!mesh.ok) throw new Error(mesh.problems.map((p) => `${p.path}: ${p.message}`).join('; '))
  const push = pushContextOf([...services.map(serviceObject), ...readObjects(test.input)], mesh.value)
  const policies: AuthorizationPolicy[] = policiesFor(push.authorizationPolicies, mesh.value.rootNamespace, workload)
  // As the recording did: a case with providers builds CUSTOM filters only, the others build no CUSTOM ones.
  const custom = test.meshConfig !== null
  const chosen = policies.filter((policy) => (policy.spec.action === 'CUSTOM') === custom)
  if (test.protocol === 'tcp') {
    const network = authorizationNetworkFilters(chosen, push)
    return toJson(FilterSchema, [...network.custom, ...network.rbac])
  }
  const filters = authorizationHttpFilters(chosen, push)
  return toJson(HttpFilterSchema, [...filters.custom, ...filters.rbac])
}

function toJson(schema: DescMessage, messages: readonly Message[]): JsonValue {
  return messages.map((message) => messageJson(schema, message))
}

function serviceObject(hostname: string, index: number): KubeObject {
  const [name = '', namespace = ''] = hostname.split('.')
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { clusterIP: `10.96.9.${index + 1}`, ports: [{ name: 'http', port: 9000, protocol: 'TCP' }] },
  }
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { authorizationTable } from './authorization.ts'
import { ConfigDump } from './config-dump.ts'

const rbac = (config: object) => ({
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC', ...config },
})
const dumpOf = (...filters: object[]) =>
  new ConfigDump(
    JSON.stringify({
      configs: [
        {
          '@type': 'type.googleapis.com/envoy.admin.v3.ListenersConfigDump',
          dynamic_listeners: [{ active_state: { listener: { filter_chains: [{ filters }, { filters }] } } }],
        },
      ],
    }),
  )

test('policies by action, each with its rules, however many chains have them', () => {
  const table = authorizationTable(
    dumpOf(
      rbac({ rules: { policies: { 'ns[a]-policy[get]-rule[0]': {}, 'ns[a]-policy[get]-rule[1]': {} } } }),
      rbac({ rules: { action: 'DENY', policies: { 'ns[b]-policy[no]-rule[0]': {} } } }),
      rbac({ shadow_rules: { action: 'DENY', policies: { 'ns[b]-policy[dry]-rule[0]': {} } } }),
      rbac({ shadow_rules: { action: 'DENY', policies: { 'istio-ext-authz-asks-ns[a]-policy[ask]-rule[0]': {} } } }),
    ),
  )
  assert.deepEqual(
    table.split('\n').map((line) => line.trim().split(/\s{2,}/)),
    [
      ['ACTION', 'AuthorizationPolicy', 'RULES'],
      ['CUSTOM', 'ask.a', '1'],
      ['DENY(dry-run)', 'dry.b', '1'],
      ['DENY', 'no.b', '1'],
      ['ALLOW', 'get.a', '2'],
      [''],
    ],
  )
})

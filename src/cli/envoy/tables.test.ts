import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UserError } from '../../base/errors.ts'
import { clusters, clusterTable } from './clusters.ts'
import { compareResources } from './compare.ts'
import { ConfigDump } from './config-dump.ts'
import { edsTable, endpointTable, loadAssignments, parseClusterStatuses } from './endpoints.ts'
import { bootstrapSummary, ecdsTable } from './extensions.ts'
import { goSort } from './go-sort.ts'
import { listeners, listenerTable } from './listeners.ts'
import { routes, routeTable } from './routes.ts'
import { secretTable } from './secrets.ts'

const ADMIN = 'type.googleapis.com/envoy.admin.v3.'
const everything = { address: '', port: 0, cluster: '', status: '' }

function dump(...sections: Record<string, unknown>[]): ConfigDump {
  return new ConfigDump(JSON.stringify({ configs: sections.map((s) => ({ ...s, '@type': ADMIN + s['@type'] })) }))
}

function clusterDump(...names: string[]): ConfigDump {
  const rule = '/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews'
  return dump({
    '@type': 'ClustersConfigDump',
    dynamic_active_clusters: names.map((name) => ({
      cluster: {
        name,
        type: 'EDS',
        metadata: name.includes('reviews') ? { filterMetadata: { istio: { config: rule } } } : {},
      },
    })),
  })
}

test('clusters are sorted by service, subset, port; filters compare whole parts', () => {
  const names = [
    'outbound|9080|v2|reviews.default',
    'outbound|9080||reviews.default',
    'BlackHoleCluster',
    'outbound|80||a.default',
  ]
  const all = clusterDump(...names)
  const none = { fqdn: '', port: 0, subset: '', direction: '' }
  assert.equal(
    clusterTable(clusters(all, none)),
    'SERVICE FQDN         PORT     SUBSET     DIRECTION     TYPE     DESTINATION RULE\n' +
      'BlackHoleCluster     -        -          -             EDS      \n' +
      'a.default            80       -          outbound      EDS      \n' +
      'reviews.default      9080     -          outbound      EDS      reviews.default\n' +
      'reviews.default      9080     v2         outbound      EDS      reviews.default\n',
  )
  const filtered = (filter: Partial<typeof none>) => clusters(all, { ...none, ...filter }).map((c) => c.value.name)
  assert.deepEqual(filtered({ subset: 'v2' }), ['outbound|9080|v2|reviews.default'])
  assert.deepEqual(filtered({ port: 80 }), ['outbound|80||a.default'])
  // Words are found anywhere in a name.
  assert.deepEqual(filtered({ subset: 'a.d' }), ['outbound|80||a.default'])
  assert.deepEqual(filtered({ fqdn: 'Hole' }), ['BlackHoleCluster'])
  assert.deepEqual(filtered({ direction: 'inbound' }), [])
  assert.deepEqual(filtered({ fqdn: 'a.default', direction: 'outbound' }), ['outbound|80||a.default'])
})

test('a dump without the section, or that is none, is one clear error', () => {
  assert.throws(() => new ConfigDump('{'), UserError)
  assert.throws(() => new ConfigDump('{}'), /no config dump/)
  assert.throws(
    () => listeners(clusterDump(), { address: '', port: 0, type: '' }),
    /^UserError: listener dump: config dump has no configuration type .*ListenersConfigDump$/,
  )
  assert.throws(() => clusters(clusterDump(), { fqdn: '', port: 0, subset: '', direction: '' }), /no clusters found/)
})

test('listeners: type, match and destination of each chain', () => {
  const hcm = (config: unknown) => ({ name: 'envoy.filters.network.http_connection_manager', typed_config: config })
  const all = dump({
    '@type': 'ListenersConfigDump',
    dynamic_listeners: [
      {
        active_state: {
          listener: {
            address: { socket_address: { address: '0.0.0.0', port_value: 9080 } },
            filter_chains: [
              {
                filter_chain_match: {
                  transport_protocol: 'raw_buffer',
                  application_protocols: ['http/1.0', 'http/1.1', 'h2c'],
                },
                filters: [hcm({ rds: { route_config_name: '9080' } })],
              },
            ],
            default_filter_chain: {
              filters: [{ name: 'envoy.filters.network.tcp_proxy', typed_config: { cluster: 'PassthroughCluster' } }],
            },
          },
        },
      },
      { warming_state: { listener: { name: 'not yet' } } },
    ],
    static_listeners: [
      {
        listener: {
          address: { socket_address: { address: '0.0.0.0', port_value: 15021 } },
          filter_chains: [
            {
              filters: [
                hcm({ route_config: { virtual_hosts: [{ domains: ['*'], routes: [{ match: { path: '/ready' } }] }] } }),
              ],
            },
          ],
        },
      },
    ],
  })
  const list = listeners(all, { address: '', port: 0, type: '' })
  assert.equal(
    listenerTable(list, true),
    'ADDRESSES PORT  MATCH                        DESTINATION\n' +
      '0.0.0.0   9080  Trans: raw_buffer; App: HTTP Route: 9080\n' +
      '0.0.0.0   9080  ALL                          PassthroughCluster\n' +
      '0.0.0.0   15021 ALL                          Inline Route: /ready\n',
  )
  assert.equal(listenerTable(list, false), 'ADDRESSES PORT  TYPE\n0.0.0.0   9080  HTTP+TCP\n0.0.0.0   15021 HTTP\n')
  assert.equal(listeners(all, { address: '', port: 15021, type: 'http' }).length, 1)
  assert.equal(listeners(all, { address: '', port: 0, type: 'TCP' }).length, 0)
})

test('routes: domains without port or long forms, number order, blackhole hosts', () => {
  const host = (name: string, domains: string[], routes_: unknown[]) => ({ name, domains, routes: routes_ })
  const all = dump({
    '@type': 'RoutesConfigDump',
    dynamic_route_configs: [
      {
        route_config: {
          name: '9080',
          virtual_hosts: [
            host(
              'reviews:9080',
              [
                'reviews.default.svc.cluster.local',
                'reviews',
                'reviews.default.svc',
                'reviews.default',
                '10.0.0.1',
                'reviews:9080',
              ],
              [{ match: { safe_regex: { regex: '/a.*' } }, route: { cluster: 'x' } }],
            ),
          ],
        },
      },
      {
        route_config: {
          name: '80',
          virtual_hosts: [
            host('allow_any', ['*'], [{ match: { prefix: '/' }, route: { cluster: 'PassthroughCluster' } }]),
            host('blackhole:80', ['*'], []),
          ],
        },
      },
    ],
  })
  assert.equal(
    routeTable(routes(all, ''), true),
    'NAME     VHOST NAME       DOMAINS                                  MATCH          VIRTUAL SERVICE\n' +
      '80       blackhole:80     *                                        /*             404\n' +
      '9080     reviews:9080     reviews, reviews.default + 1 more...     regex /a.*     \n',
  )
  assert.equal(routeTable(routes(all, '80'), false), 'NAME     VIRTUAL HOSTS\n80       2\n')
})

test('endpoints of /clusters and of EDS', () => {
  const address = (ip: string, port: number) => ({ socket_address: { address: ip, port_value: port } })
  const statuses = parseClusterStatuses(
    JSON.stringify({
      cluster_statuses: [
        {
          name: 'c',
          host_statuses: [
            { address: address('10.0.0.2', 80), health_status: { eds_health_status: 'HEALTHY' } },
            {
              address: { pipe: { path: '/s' } },
              health_status: { eds_health_status: 'UNHEALTHY', failed_outlier_check: true },
            },
          ],
        },
      ],
    }),
  )
  const header = 'ENDPOINT        STATUS        OUTLIER CHECK     CLUSTER\n'
  assert.equal(
    endpointTable(statuses, everything),
    `${header}10.0.0.2:80     HEALTHY       OK                c\nunix:///s       UNHEALTHY     FAILED            c\n`,
  )
  assert.equal(endpointTable(statuses, { ...everything, status: 'healthy' }).split('\n').length, 3)
  const eds = dump({
    '@type': 'EndpointsConfigDump',
    dynamic_endpoint_configs: [
      {
        endpoint_config: {
          cluster_name: 'c',
          endpoints: [
            {
              locality: { region: 'r', zone: 'z' },
              lb_endpoints: [{ health_status: 'HEALTHY', endpoint: { address: address('10.0.0.2', 80) } }],
            },
          ],
        },
      },
    ],
  })
  assert.equal(
    edsTable(loadAssignments(eds), everything),
    'NAME            STATUS      LOCALITY     CLUSTER\n10.0.0.2:80     HEALTHY     r/z          c\n',
  )
})

test('secrets, extension configurations and versions', () => {
  assert.equal(secretTable(dump({ '@type': 'SecretsConfigDump' }), new Date()), 'No active or warming secrets found.\n')
  const broken = dump({
    '@type': 'SecretsConfigDump',
    dynamic_warming_secrets: [
      { name: 'default', secret: { tls_certificate: { certificate_chain: { inline_string: 'x' } } } },
    ],
  })
  assert.match(secretTable(broken, new Date()), /\ndefault +Cert Chain +WARMING +false/)
  const ecds = dump({
    '@type': 'EcdsConfigDump',
    ecds_filters: [{ ecds_filter: { name: 'f', typed_config: { '@type': 'type.googleapis.com/a.B' } } }],
  })
  assert.equal(ecdsTable(ecds), 'ECDS NAME     TYPE\nf             a.B\n')
  const node = {
    metadata: { ISTIO_VERSION: '1.2' },
    user_agent_build_version: { version: { major_number: 1, minor_number: 40 } },
  }
  assert.equal(bootstrapSummary({ node }), 'Istio Version: 1.2\nEnvoy Version: 1.40.0\n')
})

test('sorting keeps the order of equals up to twelve elements and sorts longer lists', () => {
  const equals = Array.from({ length: 12 }, (_, i) => ({ key: i % 2, i }))
  const sorted = goSort(equals, (a, b) => a.key < b.key)
  assert.deepEqual(
    sorted.map((e) => e.i),
    [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11],
  )
  for (const length of [13, 60, 500]) {
    const values = Array.from({ length }, (_, i) => (i * 7919) % 101)
    assert.deepEqual(
      goSort(values, (a, b) => a < b),
      [...values].sort((a, b) => a - b),
    )
    assert.deepEqual(
      goSort(
        [...values].sort((a, b) => b - a),
        (a, b) => a < b,
      ),
      [...values].sort((a, b) => a - b),
    )
  }
})

test('proxy-status shows only the lines that differ', async () => {
  const cluster = (timeout: string) => ({ name: 'c', connect_timeout: timeout, type: 'STATIC' })
  assert.equal(await compareResources('Clusters', [cluster('1s')], [{ ...cluster('1s'), '@type': 'x' }]), '')
  const difference = await compareResources('Clusters', [cluster('1s')], [cluster('2s')])
  assert.match(difference, /^--- Istiod Clusters\n\+\+\+ Envoy Clusters\n@@ -\d+,\d+ \+\d+,\d+ @@\n/)
  assert.deepEqual(
    difference.split('\n').filter((line) => /^[-+] /.test(line)),
    ['-    "connectTimeout": "1s"', '+    "connectTimeout": "2s"'],
  )
})

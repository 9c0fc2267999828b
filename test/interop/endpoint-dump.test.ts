// /config_dump?include_eds beside real Envoy: endpoints of clusters that no EDS tells of.

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { envoyBinary, type Ports, startProxy } from './harness/proxies.ts'
import { address } from './harness/situations.ts'

const at = (port: number, more: object = {}): object => ({ endpoint: { address: address(port) }, ...more })
const assigned = (endpoints: object[], more: object = {}): object => ({
  load_assignment: { cluster_name: 'assignment', endpoints, ...more },
})
const named = {
  dns_lookup_family: 'V4_ONLY',
  ...assigned([
    {
      lb_endpoints: [
        {
          endpoint: { address: { socket_address: { address: 'localhost', port_value: 1 } } },
          load_balancing_weight: 3,
        },
      ],
    },
  ]),
}
const CLUSTERS: Readonly<Record<string, object>> = {
  one: assigned(
    [
      {
        locality: { region: 'r', zone: 'z' },
        load_balancing_weight: 3,
        lb_endpoints: [
          {
            endpoint: { address: address(1), hostname: 'h', health_check_config: { port_value: 7, hostname: 'check' } },
            metadata: { filter_metadata: { 'envoy.lb': { a: 'b', n: 1 } } },
            load_balancing_weight: 2,
          },
          at(2, { health_status: 'UNHEALTHY' }),
          at(3, { health_status: 'DRAINING' }),
          at(4, { health_status: 'DEGRADED' }),
          at(5, { health_status: 'TIMEOUT' }),
          at(6, { health_status: 'HEALTHY' }),
        ],
      },
      { priority: 1, lb_endpoints: [{ endpoint: { address: { pipe: { path: '/tmp/x' } } } }] },
    ],
    { policy: { overprovisioning_factor: 150 } },
  ),
  strict: { type: 'STRICT_DNS', ...named },
  logical: { type: 'LOGICAL_DNS', ...named },
  weighted: {
    common_lb_config: { locality_weighted_lb_config: {} },
    ...assigned([
      { locality: { region: 'r', zone: 'z' }, load_balancing_weight: 3, lb_endpoints: [at(1)] },
      { locality: { region: 'r', zone: 'y', sub_zone: 's' }, load_balancing_weight: 4, lb_endpoints: [at(3)] },
    ]),
  },
  checked: {
    health_checks: [
      {
        timeout: '1s',
        interval: '60s',
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        tcp_health_check: {},
      },
    ],
    ...assigned([{ lb_endpoints: [at(1)] }]),
  },
  passed: { type: 'ORIGINAL_DST', lb_policy: 'CLUSTER_PROVIDED' },
  empty: {},
}

const bootstrap = (ports: Ports): object => ({
  node: { id: 'n', cluster: 'c' },
  admin: { address: address(ports.admin) },
  static_resources: {
    clusters: Object.entries(CLUSTERS).map(([name, fields]) => ({ name, type: 'STATIC', ...fields })),
  },
})

describe('endpoints in the dump', { skip: envoyBinary() ? false : 'real Envoy is not installed' }, () => {
  it('are those of Envoy', async (t) => {
    const proxies = await Promise.all((['envoy', 'outrigger'] as const).map((name) => startProxy(name, bootstrap)))
    t.after(() => Promise.all(proxies.map((proxy) => proxy.stop())))
    for (const query of [
      '',
      '&resource=static_endpoint_configs',
      '&resource=dynamic_endpoint_configs',
      '&name_regex=o.*',
    ]) {
      const [theirs, mine] = await Promise.all(
        proxies.map(async (proxy) => {
          const { configs = [] } = JSON.parse(await proxy.admin(`/config_dump?include_eds${query}`)) as {
            configs?: { '@type': string }[]
          }
          return configs.filter((config) => /Endpoint/.test(config['@type']))
        }),
      )
      assert.deepEqual(mine, theirs, query)
    }
  })
})

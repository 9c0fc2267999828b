// Which upgrades and CONNECTs are accepted, by what connection manager and route say of them (contract §5.7), and internal
// redirects (§7.8).

import { type Case, describeCases, filter, http2 } from '../generated/cases.ts'
import { both, product } from './both-protocols.ts'

const upgrades = (...list: readonly object[]): object => ({ upgrade_configs: list })
const websocket = { upgrade_type: 'WebSocket' }
const REFUSALS: readonly Case[] = product({
  manager: [
    {},
    upgrades(websocket),
    upgrades({ ...websocket, enabled: false }),
    upgrades({ upgrade_type: 'other' }),
    upgrades({ upgrade_type: 'CONNECT' }),
    upgrades(websocket, { upgrade_type: 'CONNECT' }),
    upgrades({ ...websocket, filters: [filter('router', 'Router')] }),
    upgrades({ ...websocket, enabled: false, filters: [filter('router', 'Router')] }),
  ],
  route: [
    {},
    upgrades(websocket),
    upgrades({ ...websocket, enabled: false }),
    upgrades({ upgrade_type: 'other' }),
    upgrades({ upgrade_type: 'CONNECT' }),
    upgrades({ upgrade_type: 'CONNECT', enabled: false }),
    upgrades({ upgrade_type: 'CONNECT', connect_config: {} }),
  ],
}).flatMap(({ manager, route }): Case[] => {
  const what = (name: string): Pick<Case, 'name' | 'manager' | 'route'> => ({
    name: `${name} ${JSON.stringify({ manager, route })}`,
    manager: {
      ...manager,
      http2_protocol_options: { allow_connect: true },
      stream_idle_timeout: '0.4s',
      common_http_protocol_options: { idle_timeout: '0.5s' },
    },
    route,
  })
  const plain = (head: string): string => `${head}\r\nhost: a\r\nx-case: ID\r\n`
  return [
    {
      ...what('websocket'),
      client: `${plain('GET /a HTTP/1.1')}connection: Upgrade\r\nupgrade: websocket\r\nx-answer: 200,close\r\n\r\n`,
    },
    {
      ...what('WEBSOCKET, refused by the upstream'),
      client: `${plain('GET /a HTTP/1.1')}connection: Upgrade\r\nupgrade: WEBSOCKET\r\nx-answer: 403,close,len=3\r\n\r\n`,
    },
    {
      ...what('two upgrades'),
      client: `${plain('GET /a HTTP/1.1')}connection: Upgrade\r\nupgrade: websocket, other\r\nx-answer: 200,close\r\n\r\n`,
    },
    { ...what('CONNECT'), client: 'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nx-case: ID\r\nx-answer: 403,close\r\n\r\n' },
    {
      ...what('extended CONNECT, accepted by mistake'),
      client: [http2({ ':method': 'CONNECT', ':protocol': 'websocket', 'x-answer': '200,len=3' })],
    },
    {
      ...what('extended CONNECT'),
      client: [http2({ ':method': 'CONNECT', ':protocol': 'websocket', 'x-answer': '403,len=3' })],
    },
  ]
})

const REDIRECTS: readonly Case[] = product({
  policy: [
    {},
    { max_internal_redirects: 0 },
    { max_internal_redirects: 2 },
    { redirect_response_codes: [301, 307] },
    { allow_cross_scheme_redirect: true },
    { response_headers_to_copy: ['x-up', 'x-none'] },
    {
      predicates: [
        {
          name: 'envoy.internal_redirect_predicates.previous_routes',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig',
          },
        },
      ],
      max_internal_redirects: 3,
    },
    {
      predicates: [
        {
          name: 'envoy.internal_redirect_predicates.allow_listed_routes',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig',
            allowed_route_names: ['next'],
          },
        },
      ],
    },
    {
      predicates: [
        {
          name: 'envoy.internal_redirect_predicates.safe_cross_scheme',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig',
          },
        },
      ],
      allow_cross_scheme_redirect: true,
    },
  ],
}).flatMap(({ policy }) =>
  [
    'http://a/next',
    'https://a/next',
    'http://a/next?x=1#f',
    'http://A:80/next',
    'http://a:8080/next',
    'http://u:p@a/next',
    'http://a:99999/next',
    'http://a b/next',
    'http://a/next#/x?y',
    'http://b:8080/next/x',
    'http://a/loop',
    '/next',
    'next',
    '//a/next',
    'ftp://a/next',
    '',
    'http://none/next',
    'http://a',
    'http://a?q',
    'http://a/direct',
    'http://a/a/../next',
  ].flatMap((location) =>
    ['302', '301', '307', '303'].slice(0, location === 'http://a/next' ? 4 : 1).flatMap((status) =>
      both(
        {
          name: `redirect ${status} to ${location} ${JSON.stringify(policy)}`,
          manager: {
            route_config: {
              virtual_hosts: [
                {
                  name: 'v',
                  domains: ['a', 'b:8080'],
                  routes: [
                    {
                      name: 'next',
                      match: { prefix: '/next' },
                      route: { cluster: 'up2', internal_redirect_policy: policy },
                    },
                    { name: 'direct', match: { path: '/direct' }, direct_response: { status: 203 } },
                    {
                      name: 'first',
                      match: { prefix: '/' },
                      route: { cluster: 'up', internal_redirect_policy: policy },
                    },
                  ],
                },
              ],
            },
          },
        },
        [
          { fields: { 'x-answer': `${status},header=location:${location},header=x-up:1;200` } },
          { fields: { 'x-answer': `${status},header=location:${location};200` }, body: ['ab', 'cd'] },
        ],
      ),
    ),
  ),
)

describeCases('upgrades', REFUSALS)
describeCases('internal redirects', REDIRECTS)

// Paths and hosts in every combination of the options that change or refuse them (contract §5.1, §5.2).

import { type Case, describeCases } from '../generated/cases.ts'
import { both, given, product, type Request } from './both-protocols.ts'

const PATHS = [
  '/',
  '/a',
  '/a/../b',
  '/a/./b/.',
  '/../..',
  '/a//b///c',
  '//a',
  '/a%2fb',
  '/a%2F..%2fb',
  '/a%5cb',
  '/a%5C..%5cb',
  '/a\\b\\..\\c',
  '/a%2e%2e/b',
  '/a/%2e%2E/b',
  '/a/%2e/b',
  '/%61%7a%2D',
  '/%zz',
  '/%',
  '/%0',
  '/%00',
  '/a%20b',
  '/a?b=/../c//d%2f',
  '/a/..?x',
  '/a;p=1/../b',
  '/..;/a',
  '/a#f',
  '/a?q#f',
  '/a%c3%a9',
  '/a{b}|c^`',
  '/a"<>',
  '/a/b/../../../../c',
  '/...',
  '/a/.../b',
  '/a/..b',
  '/?',
  '/a??b',
  '/a//?//',
  '/%2f%2f',
  '/%2F?%2F',
]
for (let c = 33; c < 127; c++) if (c !== 35 && c !== 63) PATHS.push(`/x${String.fromCharCode(c)}y`)
const requests = PATHS.map((path): Request => ({ fields: { ':path': path } }))
const TABLE: readonly Case[] = product({
  normalize_path: [undefined, true],
  merge_slashes: [undefined, true],
  path_with_escaped_slashes_action: [undefined, 'REJECT_REQUEST', 'UNESCAPE_AND_REDIRECT', 'UNESCAPE_AND_FORWARD'],
}).flatMap((manager) => [
  ...both({ name: `paths ${JSON.stringify(manager)}`, manager: given(manager) }, requests),
  ...both({ name: `paths of gRPC ${JSON.stringify(manager)}`, manager: given(manager) }, [
    ...['/a%2fb', '/%00', '/a//b', '/a/../b'].map(
      (path): Request => ({ fields: { ':path': path, 'content-type': 'application/grpc' }, body: ['x'] }),
    ),
  ]),
])

const HOSTS = [
  'a',
  'a:80',
  'a:LISTENER',
  'a.',
  'a.:80',
  'a..',
  '.',
  'A',
  'a:',
  'a:x',
  'a:80:80',
  '[::1]',
  '[::1]:80',
  '[::1].',
  '::1',
  '1.2.3.4:80',
  'a:0',
  'a:443',
  'a:00080',
  'a:99999',
  'b',
]
const HOST_TABLE: readonly Case[] = product({
  strip: [{}, { strip_matching_host_port: true }, { strip_any_host_port: true }],
  strip_trailing_host_dot: [undefined, true],
  ignore_port_in_host_matching: [undefined, true],
  scheme_header_transformation: [undefined, { scheme_to_overwrite: 'https' }],
}).flatMap(({ strip, ignore_port_in_host_matching, ...manager }) =>
  both(
    {
      name: `hosts ${JSON.stringify({ ...strip, ...manager, ignore_port_in_host_matching })}`,
      manager: {
        ...strip,
        ...given(manager),
        route_config: {
          ...given({ ignore_port_in_host_matching }),
          virtual_hosts: [
            {
              name: 'a',
              domains: ['a', '[::1]', '1.2.3.4'],
              routes: [{ name: 'a', match: { prefix: '/' }, route: { cluster: 'up' } }],
            },
            {
              name: 'ported',
              domains: ['a:443', 'a.:80'],
              routes: [{ name: 'ported', match: { prefix: '/' }, route: { cluster: 'up' } }],
            },
            {
              name: 'dotted',
              domains: ['a.'],
              routes: [{ name: 'dotted', match: { prefix: '/' }, route: { cluster: 'up' } }],
            },
          ],
        },
      },
    },
    HOSTS.filter((host) => host !== 'a:LISTENER').map((host): Request => ({ fields: { ':authority': host } })),
  ),
)

describeCases('paths', TABLE)
describeCases('hosts', HOST_TABLE)

// Hash policies beside real Envoy: on a ring of many hosts each hash has its host, so that the host tells the hash.

import { type Ask, type BalancingCase, describeBalancing, hosts } from '../balancing/beside.ts'

const HOSTS = [{ hosts: hosts(1, 60) }]
const RING = { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 6000 } }

const hashed = (
  name: string,
  hash_policy: readonly object[],
  asks: readonly Ask[],
  more: Partial<BalancingCase> = {},
): BalancingCase => ({
  name,
  endpoints: HOSTS,
  cluster: RING,
  route: { hash_policy },
  asks,
  ...more,
})
const header = (header_name: string, more: object = {}): object => ({ header: { header_name, ...more } })
const lines = (...list: readonly Ask['headers'][]): Ask[] => list.map((headers) => ({ headers: headers! }))
const paths = (...list: readonly string[]): Ask[] => list.map((path) => ({ path }))
/** Nothing to hash: anywhere. */
const answered: Pick<BalancingCase, 'told'> = { told: (met) => met.map(([status]) => status) }

const CASES: readonly BalancingCase[] = [
  hashed(
    'a header',
    [header('X-Key')],
    lines({ 'x-key': 'a' }, { 'x-key': '' }, { 'x-key': 'a,b' }, { 'x-key': Buffer.from('é').toString('latin1') }),
  ),
  hashed(
    'a header of several values',
    [header('x-key')],
    lines({ 'x-key': ['b', 'a'] }, { 'x-key': ['a', 'b'] }, { 'x-key': ['a', 'a'] }, { 'x-key': ['', 'a'] }),
  ),
  hashed('no header', [header('x-key')], lines({}, {}), answered),
  hashed(
    'a header rewritten',
    [header('x-key', { regex_rewrite: { pattern: { regex: '[0-9]+' }, substitution: 'n' } })],
    lines({ 'x-key': 'a1' }, { 'x-key': 'a22' }, { 'x-key': 'an' }, { 'x-key': ['1', 'x'] }),
  ),
  hashed(
    'a header rewritten to nothing',
    [header('x-key', { regex_rewrite: { pattern: { regex: '.*' }, substitution: '' } })],
    lines({ 'x-key': 'a1' }, { 'x-key': 'b' }),
  ),
  hashed('the path', [header(':path')], paths('/a', '/a?b', '/b')),
  hashed('the method and the host', [header(':method'), header(':authority')], paths('/a', '/b')),
  hashed('the host by its other name', [header('host')], paths('/a', '/b'), answered),
  hashed(
    'two headers',
    [header('x-a'), header('x-b')],
    lines(
      { 'x-a': '1', 'x-b': '2' },
      { 'x-a': '2', 'x-b': '1' },
      { 'x-a': '1' },
      { 'x-b': '1' },
      { 'x-a': '1', 'x-b': '1' },
    ),
  ),
  hashed(
    'a terminal header',
    [{ ...header('x-a'), terminal: true }, header('x-b')],
    lines({ 'x-a': '1', 'x-b': '2' }, { 'x-b': '2' }, { 'x-a': '1', 'x-b': '3' }),
  ),
  hashed(
    'a terminal policy behind a hash',
    [header('x-a'), { ...header('x-b'), terminal: true }, header('x-c')],
    lines(
      { 'x-a': '1', 'x-c': '2' },
      { 'x-b': '1', 'x-c': '2' },
      { 'x-c': '2' },
      { 'x-a': '1', 'x-b': '1', 'x-c': '1' },
    ),
  ),
  hashed(
    'a query parameter',
    [{ query_parameter: { name: 'k' } }],
    paths('/?k=1', '/?k=2&k=1', '/?K=1&k=2', '/?a=1&k=3', '/?k=%31', '/?k=a%20b', '/?k=a+b', '/?k=', '/?k', '/?k=1=2'),
  ),
  hashed('no query parameter', [{ query_parameter: { name: 'k' } }], paths('/', '/?', '/?a=k'), answered),
  hashed(
    'a cookie',
    [{ cookie: { name: 'k' } }],
    lines(
      { cookie: 'k=1' },
      { cookie: 'a=2; k=2' },
      { cookie: 'k="3"' },
      { cookie: 'k=4; k=5' },
      { cookie: 'k=6 ; a=1' },
      { cookie: 'k=a=b' },
    ),
  ),
  hashed(
    'a cookie that is empty',
    [{ cookie: { name: 'k' } }],
    lines({ cookie: 'k=' }, { cookie: 'k=""' }, { cookie: 'k' }, {}),
    answered,
  ),
  hashed(
    'a cookie, or else a header',
    [{ cookie: { name: 'k' } }, header('x-a')],
    lines({ cookie: 'k=', 'x-a': '1' }, { cookie: 'k=2', 'x-a': '1' }, { 'x-a': '2' }),
  ),
  hashed('the source address', [{ connection_properties: { source_ip: true } }], paths('/', '/a')),
  hashed(
    'the source address and a header',
    [{ connection_properties: { source_ip: true } }, header('x-a')],
    lines({ 'x-a': '1' }, { 'x-a': '2' }, {}),
  ),
  hashed('not the source address', [{ connection_properties: { source_ip: false } }], paths('/', '/a'), answered),
  hashed('a filter state that is not there', [{ filter_state: { key: 'k' } }, header('x-a')], lines({ 'x-a': '1' })),
  hashed('no policy', [], paths('/', '/a'), answered),
  hashed(
    'maglev',
    [header('x-a'), { query_parameter: { name: 'k' } }],
    [
      { path: '/?k=1', headers: { 'x-a': '2' } },
      { path: '/?k=2', headers: { 'x-a': '1' } },
    ],
    {
      cluster: { lb_policy: 'MAGLEV' },
    },
  ),
]

describeBalancing('hash policies', CASES)

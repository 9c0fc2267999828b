// The filters grpc_web, grpc_stats and grpc_http1_bridge, in front of HTTP/1 and HTTP/2 upstreams.

import { type Case, describeCases, filter, http1, http2 } from './generated/cases.ts'

const H2 = { cluster: 'up2' }
const WEB = [filter('grpc_web', 'GrpcWeb')]
/** A gRPC message of two bytes, and the answers that carry it. */
const MESSAGE = '\0\0\0\0\x02hi'
const FRAME = '00000000026869'
const GRPC = `200,header=content-type:application/grpc,hex=${FRAME}`
const OK = `${GRPC},trailer=grpc-status:0,trailer=grpc-message:fine`
const web = (fields: Record<string, string>, answer = OK): Record<string, string> => ({
  ':path': '/s.S/M',
  'content-type': 'application/grpc-web+proto',
  'x-answer': answer,
  ...fields,
})
const TEXT = { 'content-type': 'application/grpc-web-text', accept: 'application/grpc-web-text' }
const base64 = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('base64')

const WEB_CASES: readonly Case[] = [
  { name: 'a call', filters: WEB, route: H2, client: [http2(web({}), [MESSAGE])] },
  { name: 'a call over HTTP/1', filters: WEB, route: H2, client: http1(web({}), [MESSAGE]) },
  { name: 'to an HTTP/1 upstream', filters: WEB, client: [http2(web({}), [MESSAGE])] },
  {
    name: 'an encoding of its own',
    filters: WEB,
    route: H2,
    client: [http2(web({ 'grpc-accept-encoding': 'identity' }), [MESSAGE])],
  },
  { name: 'without a body', filters: WEB, route: H2, client: [http2(web({}))] },
  ...['application/grpc-web', 'application/grpc-web+json', 'APPLICATION/GRPC-WEB', 'application/grpc-web; a=b'].map(
    (type): Case => ({
      name: `as ${type}`,
      filters: WEB,
      route: H2,
      client: [http2(web({ 'content-type': type }), [MESSAGE])],
    }),
  ),
  ...[
    '200',
    '200,len=0',
    '404,hex=e4f67e2041256120',
    '503,len=20000',
    '503,header=content-type:application/grpc,len=5',
    `200,header=content-type:application/grpc-web+proto,hex=${FRAME}`,
    `200,header=content-type:Application/Grpc-Web,hex=${FRAME}`,
    '404,header=content-type:application/grpc-web+proto,len=5',
    '200,header=content-type:application/grpc,len=0',
    '200,header=content-type:application/grpc,header=grpc-status:5,len=0',
    '200,header=content-type:text/plain,header=grpc-status:5,len=0',
    '200,header=grpc-status:5,len=3',
    '500,hex=61+62+63,trailer=x-t:1',
    '500,header=content-length:3,hex=616263',
    '204',
    'hang',
    'drop',
    `${GRPC},trailer=grpc-status:7,trailer=x-up:1`,
    '200,header=content-type:application/grpc+proto,header=grpc-status:3,hex=616263,trailer=grpc-status:4',
  ].flatMap((answer): Case[] => [
    { name: `answer ${answer}`, filters: WEB, route: H2, client: [http2(web({}, answer), [MESSAGE])] },
    {
      name: `answer ${answer} as text, HTTP/1`,
      filters: WEB,
      route: H2,
      client: http1(web({ accept: 'application/grpc-web-text' }, answer), [MESSAGE]),
    },
  ]),
  ...[
    [''],
    ['', ''],
    [base64(MESSAGE)],
    [base64('abc'), base64('d'), base64('efg')],
    ['YWJ', 'jZ', 'GVm'],
    ['YWJjZ', 'A=='],
    ['YWJj', ''],
    ['YWJjYQ==', 'YWJj'],
    ['YWJ'],
    ['YWJj', 'Y'],
    ['!!!!'],
    ['YW=j'],
    ['YWI='],
    ['YWJ='],
    ['A==='],
    ['===='],
    ['YWJj\n'],
    ['YQ==YQ=='],
    ['-_-_'],
  ].flatMap((body): Case[] => [
    {
      name: `Base64 ${JSON.stringify(body)}`,
      filters: WEB,
      route: H2,
      client: [http2(web({ ...TEXT }), body)],
    },
    {
      name: `Base64 ${JSON.stringify(body)} over HTTP/1`,
      filters: WEB,
      route: H2,
      // Envoy joins the chunks of one read: padding within them is an error there.
      client: http1(
        web({ ...TEXT }),
        body.slice(0, -1).some((part) => part.includes('=')) ? [body[0]!] : body.filter(Boolean),
      ),
    },
  ]),
  ...['0000000002+6869', '000000000268690000000001', '00000000026869+0000000001+61', '00', '0000000000', '80'].map(
    (hex): Case => ({
      name: `frames ${hex} as text`,
      filters: WEB,
      route: H2,
      client: [
        http2(web({ ...TEXT }, `200,header=content-type:application/grpc,hex=${hex},trailer=grpc-status:0`), [
          base64(MESSAGE),
        ]),
      ],
    }),
  ),
  {
    name: 'text without trailers',
    filters: WEB,
    route: H2,
    client: [http2(web({ ...TEXT }, GRPC), [base64(MESSAGE)])],
  },
  {
    name: 'text to an HTTP/1 upstream with trailers',
    filters: WEB,
    route: { cluster: 'proper' },
    client: [http2(web({ ...TEXT }, `${OK},chunked`), [base64(MESSAGE)])],
  },
  { name: 'no route', filters: WEB, routeEntry: { match: { path: '/x' } }, client: [http2(web({}), [MESSAGE])] },
  {
    name: 'no route over HTTP/1',
    filters: WEB,
    routeEntry: { match: { path: '/x' } },
    client: http1(web(TEXT), [base64(MESSAGE)]),
  },
  {
    name: 'a direct response',
    filters: WEB,
    routeEntry: { route: undefined, direct_response: { status: 418, body: { inline_string: 'tea ~ é' } } },
    client: [http2(web({}), [MESSAGE])],
  },
  ...['/s.S/M?q=1', '/s.S', '/a/b/c', '//a//b', '/'].map(
    (path): Case => ({
      name: `path ${path}`,
      filters: WEB,
      route: H2,
      client: [http2(web({ ':path': path }), [MESSAGE])],
    }),
  ),
]

const grpc = (answer = OK, fields: Record<string, string> = {}): Record<string, string> => ({
  ':path': '/s.S/M',
  'content-type': 'application/grpc',
  'x-answer': answer,
  ...fields,
})
const stats = (fields: object = {}): object[] => [filter('grpc_stats', 'FilterConfig', fields)]
const ALL = stats({ stats_for_all_methods: true })
/** Another service than in the cases where all are counted: Envoy has two counters of one name then. */
const LISTED = stats({ individual_method_stats_allowlist: { services: [{ name: 's.L', method_names: ['M'] }] } })

const STATS_CASES: readonly Case[] = [
  ...[
    OK,
    GRPC,
    '200',
    '503',
    '200,header=grpc-status:0,len=0',
    '200,header=grpc-status:16,len=0',
    '200,header=grpc-status:99,len=0',
    '200,header=grpc-status:x,len=0',
    '200,header=grpc-status:0,len=3',
    `200,header=content-type:application/grpc,header=grpc-status:3,hex=${FRAME},trailer=grpc-status:4`,
    `404,header=content-type:application/grpc,hex=${FRAME},trailer=grpc-status:4`,
    `200,header=content-type:application/grpc,hex=${FRAME}${FRAME}+${FRAME},trailer=grpc-status:0`,
    `200,header=content-type:text/plain,hex=${FRAME},trailer=grpc-status:0`,
    `200,header=content-type:application/grpc,hex=${FRAME},trailer=x:0`,
    'drop',
  ].flatMap((answer): Case[] => [
    { name: `all methods: ${answer}`, filters: ALL, route: H2, client: [http2(grpc(answer), [MESSAGE, MESSAGE])] },
    { name: `default: ${answer}`, filters: stats(), route: H2, client: [http2(grpc(answer), [MESSAGE + MESSAGE])] },
  ]),
  ...['/s.S/M?q=1', '/s.S/M/', '/s.S', '/a/b/c', '//s.S//M', '/s.S/N', '/'].flatMap((path): Case[] => [
    { name: `all methods, ${path}`, filters: ALL, route: H2, client: [http2(grpc(OK, { ':path': path }), [MESSAGE])] },
    {
      name: `listed, ${path}`,
      filters: LISTED,
      route: H2,
      client: [http2(grpc(OK, { ':path': path.replace('s.S', 's.L') }), [MESSAGE])],
    },
  ]),
  {
    name: 'no cluster',
    filters: ALL,
    routeEntry: { route: undefined, direct_response: { status: 200 } },
    client: [http2(grpc(), [MESSAGE])],
  },
  {
    name: 'with the state for others',
    filters: stats({ emit_filter_state: true, replace_dots_in_grpc_service_name: true, stats_for_all_methods: true }),
    route: H2,
    client: [http2(grpc(), [MESSAGE])],
  },
  {
    name: 'gRPC-Web in front of it',
    filters: [...WEB, ...ALL],
    route: H2,
    client: [http2(web({}), [MESSAGE])],
  },
  {
    name: 'gRPC-Web behind it',
    filters: [...ALL, ...WEB],
    route: H2,
    client: [http2(web({}), [MESSAGE])],
  },
  ...(
    [
      ['application/proto', { 'connect-protocol-version': '1' }, '200,header=content-type:application/proto'],
      ['application/proto', { 'connect-protocol-version': '1' }, '404,header=content-type:application/json,len=9'],
      ['application/proto', { 'connect-protocol-version': '1' }, '200,len=0'],
      [
        'application/connect+proto',
        {},
        `200,header=content-type:application/connect+proto,hex=${FRAME}+02000000027b7d`,
      ],
      [
        'application/connect+proto',
        {},
        `200,header=content-type:application/connect+proto,hex=${FRAME}020000000c7b226572726f72223a7b7d7d`,
      ],
      ['application/connect+proto', {}, '404'],
      ['application/connect+proto', {}, 'drop'],
    ] as [string, Record<string, string>, string][]
  ).flatMap(([type, fields, answer]): Case[] => [
    {
      name: `Connect ${type} ${answer}`,
      filters: ALL,
      route: H2,
      client: [http2({ ...grpc(answer, fields), 'content-type': type }, [MESSAGE])],
    },
    {
      name: `Connect, not all methods, ${type} ${answer}`,
      filters: stats({ emit_filter_state: true }),
      route: H2,
      client: [http2({ ...grpc(answer, fields), 'content-type': type }, [MESSAGE])],
    },
  ]),
]

const bridge = (fields: object = {}): object[] => [filter('grpc_http1_bridge', 'Config', fields)]
const UPGRADE = bridge({ upgrade_protobuf_to_grpc: true })
const PROTOBUF = { 'content-type': 'application/x-protobuf' }

const BRIDGE_CASES: readonly Case[] = [
  ...[
    OK,
    GRPC,
    '200',
    '200,len=0',
    '200,header=grpc-status:7,len=0',
    `${GRPC},trailer=grpc-status:7`,
    `${GRPC},trailer=grpc-status:x`,
    `${GRPC},trailer=grpc-message:m`,
    `200,header=content-type:application/grpc,header=grpc-status:3,hex=${FRAME}+${FRAME},trailer=grpc-status:4`,
    '200,hex=,trailer=grpc-status:4',
    '200,hex=616263,trailer=grpc-status:0',
    '200,hex=6162636465666768,trailer=grpc-status:0',
    '404,len=4',
    '503,len=20000,trailer=grpc-status:0',
    '204',
    'drop',
  ].flatMap((answer): Case[] => [
    { name: `bridge, HTTP/1: ${answer}`, filters: bridge(), route: H2, client: http1(grpc(answer), [MESSAGE]) },
    { name: `bridge, HTTP/2: ${answer}`, filters: bridge(), route: H2, client: [http2(grpc(answer), [MESSAGE])] },
    { name: `bridge, message: ${answer}`, filters: UPGRADE, route: H2, client: http1(grpc(answer, PROTOBUF), ['hi']) },
    {
      name: `bridge, message over HTTP/2: ${answer}`,
      filters: UPGRADE,
      route: H2,
      client: [http2(grpc(answer, PROTOBUF), ['hi'])],
    },
  ]),
  { name: 'a message without a body', filters: UPGRADE, route: H2, client: http1(grpc(OK, PROTOBUF)) },
  { name: 'an empty message', filters: UPGRADE, route: H2, client: http1(grpc(OK, PROTOBUF), ['']) },
  { name: 'a message in chunks', filters: UPGRADE, route: H2, client: http1(grpc(OK, PROTOBUF), ['ab', 'cde']) },
  {
    name: 'a message in chunks over HTTP/2',
    filters: UPGRADE,
    route: H2,
    client: [http2(grpc(OK, PROTOBUF), ['ab', 'cde'])],
  },
  ...['application/x-protobuf+x', 'Application/X-Protobuf', 'application/x-protobuf; a=b'].map(
    (type): Case => ({
      name: `a message as ${type}`,
      filters: UPGRADE,
      route: H2,
      client: http1(grpc(OK, { 'content-type': type }), ['hi']),
    }),
  ),
  ...[bridge({ ignore_query_parameters: true }), UPGRADE].flatMap((filters, i): Case[] => [
    {
      name: `a query, HTTP/1 ${i}`,
      filters,
      route: H2,
      client: http1(grpc(OK, { ':path': '/s.S/M?q=1' }), [MESSAGE]),
    },
    {
      name: `a query, HTTP/2 ${i}`,
      filters,
      route: H2,
      client: [http2(grpc(OK, { ':path': '/s.S/M?q=1' }), [MESSAGE])],
    },
  ]),
  {
    name: 'the route is chosen again for what became gRPC',
    filters: UPGRADE,
    manager: {
      route_config: {
        virtual_hosts: [
          {
            name: 'v',
            domains: ['*'],
            routes: [
              { name: 'grpc', match: { prefix: '/', grpc: {} }, route: H2 },
              { name: 'other', match: { prefix: '/' }, direct_response: { status: 404 } },
            ],
          },
        ],
      },
    },
    client: http1(grpc(OK, PROTOBUF), ['hi']),
  },
  {
    name: 'a message larger than the connection may buffer',
    filters: [filter('buffer', 'Buffer', { max_request_bytes: 4 }), ...UPGRADE],
    route: H2,
    client: http1(grpc(OK, PROTOBUF), ['hello']),
  },
]

describeCases('grpc_web', WEB_CASES)
describeCases('grpc_stats', STATS_CASES)
describeCases('grpc_http1_bridge', BRIDGE_CASES)

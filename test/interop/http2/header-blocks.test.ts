// Header blocks that are malformed, too large or unfinished, of requests, responses and trailers, in one frame and in several.

import { type Case, describeCases, get, headers, post, raw, request, reset, status } from './cases.ts'
import type { Field } from './peer.ts'

const STREAM_ERROR = {
  downstream: { override_stream_error_on_invalid_http_message: true },
  upstream: { override_stream_error_on_invalid_http_message: true },
}
const LARGE: Field = ['x-large', 'l'.repeat(9000)]
const BAD: Field = ['te', 'gzip']
const many = (count: number, bytes: number): Field[] =>
  Array.from({ length: count }, (_, i) => [`x-${i}`, 'm'.repeat(bytes)])

/** The same fields in each kind of message, and another request behind it. */
function everywhere(name: string, pieces: number, fields: readonly Field[], config: Partial<Case> = {}): Case[] {
  const message = (first: readonly Field[]): ReturnType<typeof headers> =>
    headers(0, [...first, ...fields], true, pieces)
  const another = ['c', get(1)] as const
  return [
    { name: `request: ${name}`, ...config, steps: [['c', message(request('GET'))], another] },
    { name: `response: ${name}`, ...config, steps: [['c', get()], ['u', message([[':status', '200']])], another] },
    { name: `request trailers: ${name}`, ...config, steps: [['c', post()], ['c', message([])], another] },
    {
      name: `response trailers: ${name}`,
      ...config,
      steps: [['c', get()], ['u', status('200')], ['u', message([])], another],
    },
  ]
}

const UNFINISHED = [
  'DATA within a header block',
  'CONTINUATION of another stream',
  'HEADERS within a header block',
  'CONTINUATION without an end',
] as const

describeCases('HTTP/2 header blocks', [
  ...everywhere('malformed, in the first frame', 5, [BAD, LARGE]),
  ...everywhere('malformed, in the last frame', 5, [LARGE, BAD]),
  ...everywhere('malformed, in the midst', 5, [LARGE, BAD, LARGE]),
  ...everywhere('malformed, in one frame, streams alone', 1, [BAD], STREAM_ERROR),
  ...everywhere('malformed, in the first frame, streams alone', 5, [BAD, LARGE], STREAM_ERROR),
  ...everywhere('malformed, in the last frame, streams alone', 5, [LARGE, BAD], STREAM_ERROR),
  ...everywhere('an underscore', 5, [['x_y', '1'], LARGE], {
    downstreamCommon: { headers_with_underscores_action: 'REJECT_REQUEST' },
  }),
  ...everywhere('too many fields', 3, many(9, 1), {
    downstreamCommon: { max_headers_count: 5 },
    upstreamCommon: { max_headers_count: 5 },
  }),
  ...everywhere('too many bytes', 5, many(8, 9000)),
  ...everywhere('too many bytes, streams alone', 5, many(8, 9000), STREAM_ERROR),
  ...everywhere('far too many bytes', 5, many(30, 9000)),
  ...everywhere('one field that is larger than all may be', 5, many(1, 64_000)),
  ...everywhere('one field that is larger than any', 5, many(1, 70_000)),
  ...UNFINISHED.flatMap((kind): Case[] => [
    {
      name: `request trailers: ${kind}`,
      steps: [
        ['c', post()],
        ['c', raw(kind)],
      ],
    },
    {
      name: `request trailers: ${kind}, streams alone`,
      ...STREAM_ERROR,
      steps: [
        ['c', post()],
        ['c', raw(kind)],
      ],
    },
    {
      name: `response: ${kind}`,
      steps: [
        ['c', get()],
        ['u', raw(kind)],
      ],
    },
    {
      name: `response trailers: ${kind}`,
      steps: [
        ['c', get()],
        ['u', status('200')],
        ['u', raw(kind)],
      ],
    },
  ]),
  {
    name: 'response of a request that is gone: too many fields, unfinished',
    upstreamCommon: { max_headers_count: 4 },
    steps: [
      ['c', post()],
      ['c', reset(8)],
      ['u', raw('CONTINUATION without an end')],
    ],
  },
])

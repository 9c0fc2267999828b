// Who the client is, whether it is an internal one, and what its word counts for, in every combination of the options that
// decide it (contract §5.3, §5.4): forwarded headers, the log's remote address and the counters must be Envoy's.

import { type Case, describeCases } from '../generated/cases.ts'
import { both, given, product, type Request } from './both-protocols.ts'

const T = 'type.googleapis.com/envoy.'
const LOOPBACK = { cidr_ranges: [{ address_prefix: '127.0.0.0', prefix_len: 8 }] }
const TENS = { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] }

const forwarded = (value: string | readonly string[], more: object = {}): Request => ({
  fields: { 'x-forwarded-for': value, ...more },
})
/** What only an internal client may ask for, and what an edge takes away. */
const PRIVILEGED = {
  'x-envoy-retry-on': '5xx',
  'x-envoy-retry-grpc-on': 'cancelled',
  'x-envoy-max-retries': '1',
  'x-envoy-upstream-alt-stat-name': 'alt',
  'x-envoy-upstream-rq-timeout-ms': '9000',
  'x-envoy-upstream-rq-per-try-timeout-ms': '8000',
  'x-envoy-upstream-rq-timeout-alt-response': '1',
  'x-envoy-expected-rq-timeout-ms': '7000',
  'x-envoy-force-trace': '1',
  'x-envoy-ip-tags': 'tag',
  'x-envoy-internal': 'true',
  'x-envoy-external-address': '9.9.9.9',
  'x-envoy-decorator-operation': 'op',
  'x-envoy-downstream-service-cluster': 'sc',
  'x-envoy-downstream-service-node': 'sn',
  'x-envoy-original-dst-host': '1.2.3.4:5',
  'x-envoy-is-timeout-retry': 'true',
  'x-envoy-hedge-on-per-try-timeout': 'true',
  'x-only': 'inside',
}
const REQUESTS: readonly Request[] = [
  { fields: {} },
  ...['', '10.0.0.1', '1.2.3.4', '1.2.3.4, 10.0.0.1', '10.0.0.1,1.2.3.4,10.0.0.2', 'bad', '1.2.3.4,,5.6.7.8'].map(
    (xff) => forwarded(xff),
  ),
  ...['1.2.3.4:80', '::1', '[::1]:80', '127.0.0.1,', '1.2.3.4,bad,2.2.2.2,3.3.3.3'].map((xff) => forwarded(xff)),
  forwarded(['1.2.3.4', '10.0.0.1']),
  ...['http', 'https', 'HTTPS', 'ftp', ''].map((proto): Request => ({ fields: { 'x-forwarded-proto': proto } })),
  forwarded('10.0.0.9', { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'h', 'x-forwarded-port': '99' }),
  { fields: PRIVILEGED },
  forwarded('10.0.0.1', PRIVILEGED),
  forwarded('1.2.3.4,5.6.7.8', PRIVILEGED),
]

const ADDRESSES: readonly Case[] = product({
  use_remote_address: [undefined, true],
  xff_num_trusted_hops: [undefined, 1, 2],
  skip_xff_append: [undefined, true],
  internal_address_config: [undefined, {}, LOOPBACK, TENS],
}).flatMap((manager, i) =>
  both(
    {
      name: `addresses ${JSON.stringify(manager)}`,
      routeConfig: { internal_only_headers: ['x-only'] },
      manager: { ...given(manager), ...(i % 2 ? { append_x_forwarded_port: true } : {}) },
    },
    REQUESTS,
  ),
)

const extension = (kind: string, message: string, fields: object): object => ({
  name: `envoy.http.original_ip_detection.${kind}`,
  typed_config: { '@type': `${T}extensions.http.original_ip_detection.${kind}.v3.${message}`, ...fields },
})
const xff = (fields: object): object => extension('xff', 'XffConfig', fields)
const custom = (fields: object): object =>
  extension('custom_header', 'CustomHeaderConfig', { header_name: 'X-Client', ...fields })
const TRUSTED = {
  xff_trusted_cidrs: { cidrs: [...LOOPBACK.cidr_ranges, ...TENS.cidr_ranges] },
}
const DETECTED: readonly Request[] = [
  ...REQUESTS,
  ...['1.2.3.4', '10.1.1.1', 'bad', '', '1.2.3.4:99', '::1', '127.0.0.1'].flatMap((client): Request[] => [
    { fields: { 'x-client': client } },
    forwarded('10.0.0.1,2.2.2.2', { 'x-client': client, ...PRIVILEGED }),
  ]),
]
const DETECTIONS: readonly Case[] = [
  [xff({})],
  [xff({ xff_num_trusted_hops: 1 })],
  [xff({ xff_num_trusted_hops: 1, skip_xff_append: true })],
  [xff({ skip_xff_append: false })],
  [xff(TRUSTED)],
  [xff({ ...TRUSTED, skip_xff_append: true })],
  [xff({ ...TRUSTED, skip_xff_append: false })],
  [custom({})],
  [custom({ allow_extension_to_set_address_as_trusted: true })],
  [custom({ reject_with_status: { code: 'Forbidden' } })],
  [custom({ reject_with_status: { code: 'OK' } })],
  [custom({}), xff({})],
  [xff({}), custom({ reject_with_status: { code: 'BadRequest' } })],
].flatMap((original_ip_detection_extensions, i) =>
  [undefined, {}, TENS].flatMap((internal_address_config) =>
    both(
      {
        name: `detection ${i} ${JSON.stringify(internal_address_config)}`,
        routeConfig: { internal_only_headers: ['x-only'] },
        manager: given({ use_remote_address: false, original_ip_detection_extensions, internal_address_config }),
      },
      DETECTED,
    ),
  ),
)

describeCases('client addresses', ADDRESSES)
describeCases('detection of client addresses', DETECTIONS)

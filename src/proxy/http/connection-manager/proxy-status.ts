// The Proxy-Status header (RFC 9209): what went wrong, for whoever is behind several proxies.

import { Flag, type ResponseFlagName, type StreamInfo } from '../../stream-info.ts'
import type { HeaderMap } from '../header-map.ts'
import type { ProxyStatusConfig } from './config.ts'

/** Error by response flag; of several flags the first here decides. Lossy, as Envoy's mapping is. */
const ERRORS: readonly (readonly [flag: ResponseFlagName, error: string])[] = [
  ['LH', 'destination_unavailable'],
  ['UH', 'destination_unavailable'],
  ['UT', 'http_response_timeout'],
  ['LR', 'connection_timeout'],
  ['UR', 'connection_terminated'],
  ['UF', 'connection_refused'],
  ['UC', 'connection_terminated'],
  ['UO', 'connection_limit_reached'],
  ['NR', 'destination_not_found'],
  ['RL', 'connection_limit_reached'],
  ['RLSE', 'connection_limit_reached'],
  ['URX', 'destination_unavailable'],
  ['SI', 'http_response_timeout'],
  ['IH', 'http_request_error'],
  ['DPE', 'http_request_error'],
  ['UMSDR', 'http_response_timeout'],
  ['NFCF', 'proxy_configuration_error'],
  ['UPE', 'http_protocol_error'],
  ['NC', 'destination_unavailable'],
  ['DF', 'dns_error'],
]

/** Recommended status codes of the errors above (RFC 9209 §2.3); errors of the request have none of their own. */
const STATUS: Readonly<Record<string, number>> = {
  destination_unavailable: 503,
  http_response_timeout: 504,
  connection_timeout: 504,
  connection_terminated: 502,
  connection_refused: 502,
  connection_limit_reached: 503,
  destination_not_found: 500,
  proxy_configuration_error: 500,
  http_protocol_error: 502,
  dns_error: 502,
}

/** undefined: nothing went wrong that has a name. */
function proxyStatusError({ responseFlags }: StreamInfo): string | undefined {
  if (responseFlags === 0) return undefined
  return ERRORS.find(([flag]) => (responseFlags & Flag[flag]) !== 0)?.[1]
}

/** Says it in the response, and maybe by its status. `flags`: as logs print them. */
export function addProxyStatus(headers: HeaderMap, info: StreamInfo, flags: string, config: ProxyStatusConfig): void {
  const error = proxyStatusError(info)
  if (error === undefined) return
  let value = `${config.name}; error=${error}`
  if (config.details) {
    const details = [info.responseCodeDetails]
    const termination = info.connectionTerminationDetails || info.downstream.connectionTerminationDetails
    if (config.connectionTerminationDetails && termination !== '') details.push(termination)
    if (config.responseFlags) details.push(flags)
    value += `; details="${details.join('; ')}"`
  }
  const before = headers.getAll('proxy-status')
  headers.set('proxy-status', before === undefined ? value : `${before}, ${value}`)
  const status = STATUS[error]
  if (config.setRecommendedResponseCode && status !== undefined) headers.status = status
}

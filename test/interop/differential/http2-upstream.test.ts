import { request as send } from '../harness/http2-client.ts'
import { exchange } from '../harness/raw-client.ts'
import { startRecordingHttp2Upstream } from '../harness/recording-upstream-http2.ts'
import { compareProxies } from './compare.ts'
import { withoutConnectionHeaders } from './http2-requests.ts'
import { encodeRequest, type GeneratedRequest } from './requests.ts'

/** A GOAWAY meets other requests on their way: which of them are refused depends on the moment. */
function withoutClose(request: GeneratedRequest): GeneratedRequest {
  const headers = request.headers.map(([name, value]): [string, string] => [name, value.replace(',close', '')])
  return { ...request, headers }
}

const kind = { http2: true, start: startRecordingHttp2Upstream }
compareProxies('HTTP/2 both ways', send, (request) => withoutClose(withoutConnectionHeaders(request)), kind)
compareProxies(
  'HTTP/1.1 to HTTP/2',
  (port, request, id) => exchange(port, encodeRequest(request, id), [request.method]),
  withoutClose,
  kind,
)

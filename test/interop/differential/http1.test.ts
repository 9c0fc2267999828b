import { exchange } from '../harness/raw-client.ts'
import { compareProxies } from './compare.ts'
import { encodeRequest } from './requests.ts'

compareProxies(
  'HTTP/1.1',
  (port, request, id) => exchange(port, encodeRequest(request, id), [request.method]),
  (request) => request,
)

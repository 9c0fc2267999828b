import { request as send } from '../harness/http2-client.ts'
import { compareProxies } from './compare.ts'
import { withoutConnectionHeaders } from './http2-requests.ts'

compareProxies('HTTP/2', send, withoutConnectionHeaders)

import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import type { ListenerContext } from './context.ts'

export function gatewayListeners(_context: ListenerContext): Listener[] {
  return []
}

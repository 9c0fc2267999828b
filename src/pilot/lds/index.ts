// LDS: every listener of a proxy.
import type { Listener } from '../../api/gen/envoy/config/listener/v3/listener_pb.js'
import { patchListeners } from '../envoy-filter/listeners.ts'
import { patchesFor } from '../envoy-filter/select.ts'
import type { ProxyNode } from '../model/node.ts'
import type { PushContext } from '../model/push-context.ts'
import type { Remark } from '../model/remarks.ts'
import { listenerContext } from './context.ts'
import { gatewayListeners } from './gateway.ts'
import { inboundListeners } from './inbound.ts'
import { httpProxyListener, outboundListeners } from './outbound.ts'
import { virtualOutboundListener } from './virtual-outbound.ts'

/** Listeners in Istio's order: outbound services, HTTP proxy, virtualOutbound, virtualInbound and other inbound ones. */
export function generateListeners(proxy: ProxyNode, push: PushContext): Listener[] {
  if (proxy.type !== 'sidecar') {
    return patchListeners(gatewayListeners(listenerContext(proxy, push)), 'GATEWAY', patchesFor(proxy, push))
  }
  return [...generateOutboundListeners(proxy, push), ...generateInboundListeners(proxy, push)]
}

/** What a sidecar's application calls: depends on scope and kind of proxy, hardly on the one proxy. `remarks` takes what is left out. */
export function generateOutboundListeners(proxy: ProxyNode, push: PushContext, remarks: Remark[] = []): Listener[] {
  const context = listenerContext(proxy, push, remarks)
  const listeners = outboundListeners(context)
  const httpProxy = httpProxyListener(context)
  if (httpProxy) listeners.push(httpProxy)
  if (proxy.interceptionMode !== 'NONE') listeners.push(virtualOutboundListener(context))
  return patchListeners(listeners, 'SIDECAR_OUTBOUND', patchesFor(proxy, push), remarks)
}

/** What reaches a sidecar's application: virtualInbound and the listeners of its Sidecar resource. */
export function generateInboundListeners(proxy: ProxyNode, push: PushContext, remarks: Remark[] = []): Listener[] {
  const listeners = inboundListeners(listenerContext(proxy, push, remarks))
  return patchListeners(listeners, 'SIDECAR_INBOUND', patchesFor(proxy, push), remarks)
}

// Effective ProxyConfig of one proxy: what its node says, whole, as in istiod; else what the mesh says.
import { type MeshConfig, type ProxyConfig, parseProxyConfig } from '../../config/index.ts'
import type { ProxyNode } from './node.ts'

const memo = new WeakMap<ProxyNode, ProxyConfig | null>()

/** A ProxyConfig in the node that does not parse is left out: the proxy still gets a working configuration. */
export function proxyConfigOf(proxy: ProxyNode, mesh: MeshConfig): ProxyConfig {
  const own = proxy.metadata.PROXY_CONFIG
  if (own === undefined) return mesh.defaultConfig
  let config = memo.get(proxy)
  if (config === undefined) {
    const parsed = parseProxyConfig(own)
    config = parsed.ok ? parsed.value : null
    memo.set(proxy, config)
  }
  return config ?? mesh.defaultConfig
}

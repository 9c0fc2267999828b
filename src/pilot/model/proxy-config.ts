// Effective ProxyConfig of one proxy: what its node says over what the mesh says.
import { type MeshConfig, type ProxyConfig, parseProxyConfig } from '../../config/index.ts'
import type { ProxyNode } from './node.ts'

const memo = new WeakMap<ProxyNode, { readonly mesh: MeshConfig; readonly config: ProxyConfig }>()

/** A ProxyConfig in the node that does not parse is left out: the proxy still gets a working configuration. */
export function proxyConfigOf(proxy: ProxyNode, mesh: MeshConfig): ProxyConfig {
  const own = proxy.metadata.PROXY_CONFIG
  if (own === undefined) return mesh.defaultConfig
  const known = memo.get(proxy)
  if (known?.mesh === mesh) return known.config
  const parsed = parseProxyConfig(own, mesh.defaultConfig)
  const config = parsed.ok ? parsed.value : mesh.defaultConfig
  memo.set(proxy, { mesh, config })
  return config
}

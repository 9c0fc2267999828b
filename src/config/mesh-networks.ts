// Reads MeshNetworks with istiod's rules.
import { isIP } from 'node:net'
import { ok, type Result } from '../base/errors.ts'
import { type MeshNetworks, meshNetworks } from './resources/mesh-networks.ts'
import { Problems } from './schema.ts'
import { isIpOrCidr } from './validate/common.ts'

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/i

/** Parses MeshNetworks (YAML or JSON already read; null or undefined for none). */
export function parseMeshNetworks(input: unknown): Result<MeshNetworks> {
  const problems = new Problems(true)
  const spec = meshNetworks.parse(input ?? {}, '', problems) ?? {}
  for (const [name, network] of Object.entries(spec.networks ?? {})) {
    network.endpoints?.forEach((endpoint, i) => {
      const path = `networks["${name}"].endpoints[${i}]`
      if (endpoint.fromCidr !== undefined && !isIpOrCidr(endpoint.fromCidr))
        problems.error(`${path}.fromCidr`, `"${endpoint.fromCidr}" is not an address range`, 'write it as 10.0.0.0/16')
      if (endpoint.fromRegistry !== undefined && !LABEL.test(endpoint.fromRegistry))
        problems.error(`${path}.fromRegistry`, `"${endpoint.fromRegistry}" is not the name of a cluster`)
    })
    network.gateways?.forEach(({ address, registryServiceName }, i) => {
      const path = `networks["${name}"].gateways[${i}]`
      if (registryServiceName !== undefined && !isHostName(registryServiceName))
        problems.error(`${path}.registryServiceName`, `"${registryServiceName}" is not the full name of a service`)
      if (address !== undefined && isIP(address) === 0 && !isHostName(address))
        problems.error(`${path}.address`, `"${address}" is neither an IP address nor a host name`)
    })
  }
  return problems.failed ? { ok: false, problems: problems.list } : ok(spec)
}

function isHostName(text: string): boolean {
  return text.length <= 255 && text.split('.').every((part) => LABEL.test(part))
}

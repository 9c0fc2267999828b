// Which network an address is in: by its own label, the control plane's namespace, or MeshNetworks.
import { BlockList, isIP } from 'node:net'
import type { MeshNetworks } from '../../config/index.ts'

export const NETWORK_LABEL = 'topology.istio.io/network'

/** Istio's order: the workload's label, the label of the system namespace, `fromRegistry`, the first `fromCidr`. */
export class NetworkLookup {
  /** The network that the whole cluster is in, from the label of its system namespace; empty when it has none. */
  systemNetwork = ''
  private readonly registryNetwork: string
  private readonly ranges: readonly { readonly network: string; readonly block: BlockList }[]

  constructor(meshNetworks: MeshNetworks, clusterId: string) {
    const ranges: { network: string; block: BlockList }[] = []
    let registryNetwork = ''
    for (const [network, { endpoints = [] }] of Object.entries(meshNetworks.networks ?? {})) {
      const block = new BlockList()
      for (const { fromCidr, fromRegistry } of endpoints) {
        if (fromRegistry === clusterId) registryNetwork ||= network
        if (fromCidr !== undefined) addRange(block, fromCidr)
      }
      if (block.rules.length > 0) ranges.push({ network, block })
    }
    this.registryNetwork = registryNetwork
    this.ranges = ranges
  }

  of(address: string, labels: Readonly<Record<string, string>>): string {
    const known = labels[NETWORK_LABEL] || this.systemNetwork || this.registryNetwork
    if (known || this.ranges.length === 0) return known
    const family = isIP(address)
    if (family === 0) return ''
    return this.ranges.find(({ block }) => block.check(address, family === 6 ? 'ipv6' : 'ipv4'))?.network ?? ''
  }
}

function addRange(block: BlockList, cidr: string): void {
  const [address = '', bits] = cidr.split('/')
  const v6 = address.includes(':')
  block.addSubnet(address, bits === undefined ? (v6 ? 128 : 32) : Number(bits), v6 ? 'ipv6' : 'ipv4')
}

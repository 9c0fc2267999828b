// The addresses of a local mesh. They exist in private network namespaces only, so they cannot collide with the host's.

export const BRIDGE = 'br0'
/** The node's own address on the bridge: the pods' gateway, and where the control plane listens. */
export const NODE_IP = '10.244.0.1'
const POD_CIDR = '10.244.0.0/16'
export const SERVICE_CIDR = '10.96.0.0/16'
export const DNS_VIP = '10.96.0.10'
export const CLUSTER_DOMAIN = 'cluster.local'
export const NODE_NAME = 'outrigger'

const POD_BASE = ipToNumber('10.244.0.0')
const SERVICE_BASE = ipToNumber('10.96.0.0')

function ipToNumber(ip: string): number {
  return ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
}

function numberToIp(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.')
}

export function isServiceIp(ip: string): boolean {
  return /^10\.96\.\d{1,3}\.\d{1,3}$/.test(ip) && ip.split('.').every((part) => Number(part) <= 255)
}

/**
 * Hands out pod addresses in rising order, so that an address is not reused while old connections may still
 * point at it. 10.244.0.1 is the node, .0.0 and .255.255 are not hosts.
 */
export class PodAddresses {
  private readonly used = new Set<number>()
  private next = 2

  allocate(): string {
    for (let tries = 0; tries < 65533; tries++) {
      const host = this.next
      this.next = host === 65534 ? 2 : host + 1
      if (this.used.has(host)) continue
      this.used.add(host)
      return numberToIp(POD_BASE + host)
    }
    throw new Error(`no pod address is left in ${POD_CIDR}`)
  }

  release(ip: string): void {
    this.used.delete(ipToNumber(ip) - POD_BASE)
  }
}

/** The first free service address from 10.96.0.100 on; `used` holds the taken ones. */
export function freeServiceIp(used: ReadonlySet<string>): string {
  for (let host = 100; host < 65535; host++) {
    const ip = numberToIp(SERVICE_BASE + host)
    if (!used.has(ip)) return ip
  }
  throw new Error(`no service address is left in ${SERVICE_CIDR}`)
}

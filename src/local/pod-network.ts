import { BRIDGE, NODE_IP } from './addresses.ts'
import { run } from './run.ts'

/** A pod's network namespace: its name in /run/netns and its address. */
export interface PodNetwork {
  readonly namespace: string
  readonly ip: string
}

/** Interface names are at most 15 bytes; the pod's number is unique in the node's life. */
function vethOf(podNumber: number): string {
  return `veth${podNumber}`
}

/**
 * Makes the pod's network namespace, joined to the bridge. The pod's address is a /32 with everything routed through
 * the node: pod to pod traffic, too, passes the node's connection tracking, which service addresses need.
 */
export async function createPodNetwork(podNumber: number, ip: string): Promise<PodNetwork> {
  const namespace = `pod${podNumber}`
  const veth = vethOf(podNumber)
  await run('ip', ['netns', 'add', namespace])
  try {
    await run('ip', ['-batch', '-'], {
      input: [
        `link add ${veth} type veth peer name eth0 netns ${namespace}`,
        `link set ${veth} master ${BRIDGE} up`,
      ].join('\n'),
    })
    await run('ip', ['-n', namespace, '-batch', '-'], {
      input: [
        'link set lo up',
        `addr add ${ip}/32 dev eth0`,
        'link set eth0 up',
        `route add ${NODE_IP} dev eth0 scope link`,
        `route add default via ${NODE_IP} dev eth0 src ${ip}`,
      ].join('\n'),
    })
    // As container runtimes do: low ports are no privilege inside a pod's own network.
    await run('nsenter', [
      `--net=/run/netns/${namespace}`,
      'sh',
      '-c',
      'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start',
    ])
  } catch (error) {
    await removePodNetwork({ namespace, ip })
    throw error
  }
  return { namespace, ip }
}

/** Removes the namespace and with it the pod's end of the veth pair, which takes the other end along. */
export async function removePodNetwork(network: PodNetwork): Promise<void> {
  await run('ip', ['netns', 'delete', network.namespace])
}

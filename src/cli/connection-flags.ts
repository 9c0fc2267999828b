// Flags of istioctl that choose a cluster or a control plane: there is one mesh here, so they are refused with the reason.

const CLUSTER = 'commands talk to the mesh that `outrigger up` runs on this machine, not to a Kubernetes cluster'
const SYSTEM = 'the control plane of a local mesh is the one in istio-system'

const REASONS: Readonly<Record<string, string>> = {
  '--kubeconfig': CLUSTER,
  '-c': CLUSTER,
  '--context': CLUSTER,
  '--as': CLUSTER,
  '--as-uid': CLUSTER,
  '--as-group': CLUSTER,
  '--kubeclient-timeout': CLUSTER,
  '-i': SYSTEM,
  '--istioNamespace': SYSTEM,
  '-r': SYSTEM,
  '--revision': SYSTEM,
  '--vklog': 'no Kubernetes client logs here',
}

/** What commander says of an unknown option, with the reason when it is one of istioctl's. */
export function withReason(text: string): string {
  const flag = /unknown option '(--?[\w-]+)/.exec(text)?.[1]
  const reason = flag === undefined ? undefined : (REASONS[flag] ?? REASONS[flag.slice(0, 2)])
  return reason === undefined ? text : `error: ${flag} of istioctl does not apply: ${reason}; leave it out\n`
}

// Real istioctl on the mesh that `outrigger up` runs here: `node test/conformance/istioctl/live.ts proxy-status`. For
// looking at both programs' answers about one mesh.
import { ISTIO_KINDS, istioGroupKind } from '../../../src/config/index.ts'
import { openForward } from '../../../src/local/forward.ts'
import { LocalClient, stateDir } from '../../../src/local/index.ts'
import { istioctl } from './istioctl.ts'
import { KubeApi, type PodName } from './kube-api.ts'

const KINDS = [
  'Namespace',
  'Node',
  'Pod',
  'Service',
  'ServiceAccount',
  'ConfigMap',
  'Secret',
  'Deployment.apps',
  'ReplicaSet.apps',
  'EndpointSlice.discovery.k8s.io',
  'MutatingWebhookConfiguration.admissionregistration.k8s.io',
  ...ISTIO_KINDS.map(istioGroupKind),
]
/** The control plane is no pod here: this one stands for it. */
const PILOT: PodName = { namespace: 'istio-system', name: 'istiod-local' }

const PILOT_POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { ...PILOT, labels: { app: 'istiod', istio: 'pilot', 'istio.io/rev': 'default' } },
  spec: { containers: [{ name: 'discovery', image: 'pilot' }] },
  status: {
    phase: 'Running',
    podIP: '127.0.0.1',
    conditions: [{ type: 'Ready', status: 'True' }],
    containerStatuses: [{ name: 'discovery', ready: true }],
  },
}

const client = new LocalClient()
const { forwardSocket } = stateDir()
const isPilot = ({ namespace, name }: PodName) => namespace === PILOT.namespace && name === PILOT.name
const api = await KubeApi.start({
  objects: async () => {
    const lists = await Promise.all(KINDS.map((kind) => client.call('list', { kind })))
    return [PILOT_POD, ...lists.flat()]
  },
  connect: (pod, port) =>
    openForward(
      forwardSocket,
      isPilot(pod) ? { nodePort: port } : { pod: pod.name, namespace: pod.namespace, loopbackPort: port },
    ),
  token: (namespace, serviceAccount) =>
    client.call('serviceAccountToken', { namespace, serviceAccount, audience: 'istio-ca' }),
})
const { exit, stdout, stderr } = await istioctl(api.kubeconfig(), process.argv.slice(2))
process.stdout.write(stdout)
process.stderr.write(stderr)
process.exitCode = exit ?? 1
api.close()

// Records what real istioctl (.istiod/istioctl) says: `node test/conformance/check-inject/record.ts`.
import { writeFileSync } from 'node:fs'
import type { KubeObject } from '../../../src/cluster/index.ts'
import { istioctl } from '../istioctl/istioctl.ts'
import { KubeApi } from '../istioctl/kube-api.ts'
import { CASES, RECORDED } from './cases.ts'

let objects: readonly KubeObject[] = []
const api = await KubeApi.start({ objects: () => objects })
const recorded: Record<string, string> = {}
for (const { id, injectors, namespace, pod } of CASES) {
  objects = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: namespace } },
    ...injectors.map(({ name, revision, webhooks }) => ({
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingWebhookConfiguration',
      metadata: { name, labels: { 'istio.io/rev': revision } },
      webhooks,
    })),
  ]
  const { stdout } = await istioctl(api.kubeconfig(), ['x', 'check-inject', '-n', 'shop', '-l', pod])
  recorded[id] = stdout.replaceAll(/\u001b\[\d+m/g, '')
}
writeFileSync(RECORDED, `${JSON.stringify(recorded, null, 1)}\n`)
api.close()

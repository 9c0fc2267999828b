// `/debug/inject`: what injection adds. istiod shows Go templates; here it is what becomes of a pod that has nothing.
import type { JsonValue } from '@bufbuild/protobuf'
import { stringify } from 'yaml'
import type { KubeObject } from '../../cluster/index.ts'
import type { InjectPod } from '../webhook/review.ts'

/** Template name → YAML; null where nothing is injected, as in an istiod without webhook. */
export function injectTemplates(inject: InjectPod | undefined): JsonValue {
  if (!inject) return null
  const out: { [template: string]: JsonValue } = {}
  for (const [name, pod] of Object.entries(EMPTY_PODS)) {
    const injected = inject(structuredClone(pod))
    if (injected) out[name] = stringify(injected)
  }
  return out
}

const METADATA = { name: 'pod', namespace: 'default' }

/** By template: the pod that wants it and has nothing else. */
const EMPTY_PODS: Readonly<Record<string, KubeObject>> = {
  gateway: {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...METADATA, annotations: { 'inject.istio.io/templates': 'gateway' }, labels: {} },
    spec: { containers: [{ name: 'istio-proxy', image: 'auto' }] },
  },
  sidecar: {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...METADATA, labels: { 'sidecar.istio.io/inject': 'true' } },
    spec: { containers: [{ name: 'application', image: 'application' }] },
  },
}

// Objects for tests of this room.
import type { Deployment, Pod, Service } from './pod-types.ts'

interface PodShape {
  readonly ip?: string
  readonly ready?: boolean
  readonly created?: string
}

export function podForTest(
  name: string,
  labels: Record<string, string>,
  { ip, ready = false, created }: PodShape = {},
): Pod {
  const status = ready ? 'True' : 'False'
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'default',
      labels,
      uid: `uid-${name}`,
      creationTimestamp: created ?? '2026-01-01T00:00:00Z',
    },
    spec: { containers: [{ name: 'app', image: 'app' }], serviceAccountName: 'default' },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status, lastTransitionTime: '2026-01-01T00:00:00Z' }],
      ...(ip ? { podIP: ip } : {}),
    },
  }
}

export function serviceForTest(name: string, spec: Partial<Service['spec']> = {}): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', uid: `uid-${name}` },
    spec: {
      selector: { app: name },
      clusterIP: '10.96.0.30',
      ports: [{ name: 'http', port: 9080, protocol: 'TCP', targetPort: 9080 }],
      ...spec,
    },
  }
}

export function deploymentForTest(name: string, replicas: number, spec: Partial<Deployment['spec']> = {}): Deployment {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'default', uid: `uid-${name}` },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'app', image: 'app' }] } },
      ...spec,
    },
  }
}

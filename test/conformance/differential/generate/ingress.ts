// Kubernetes Ingresses.
import type { Draw } from './draw.ts'
import { EXTERNAL_HOSTS, serviceName } from './vocabulary.ts'

/** IngressClasses of Istio and of another controller; `absent` has no object. */
export const ingressClasses = (): object[] =>
  [
    ['istio', 'istio.io/ingress-controller'],
    ['other', 'example.com/controller'],
  ].map(([name, controller]) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: { name, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { controller },
  }))

export function ingress(draw: Draw): object {
  return {
    ingressClassName: draw.maybe(0.7, () => draw.pick(['istio', 'istio', 'other', 'absent'])),
    tls: draw.maybe(0.3, () => [{ hosts: ['ext.example.com'], secretName: 'cred' }]),
    rules: draw.many(1, 2, () => ({
      host: draw.maybe(0.8, () => draw.pick([...EXTERNAL_HOSTS, '*.example.com'])),
      http: {
        paths: draw.many(1, 2, () => ({
          path: draw.pick(['/', '/a', '/b/', '/a/*']),
          pathType: draw.pick(['Prefix', 'Exact', 'ImplementationSpecific']),
          backend: {
            service: {
              name: serviceName(draw),
              port: draw.pick<object>([{ number: 80 }, { name: 'http' }, { number: 8080 }]),
            },
          },
        })),
      },
    })),
    defaultBackend: draw.maybe(0.2, () => ({ service: { name: serviceName(draw), port: { number: 80 } } })),
  }
}

// networking.k8s.io/v1 Ingress.
import { type Infer, integer, list, message, oneOfNames, required, string, struct } from '../schema.ts'

const backend = message({
  service: message({
    name: required(string({ minLength: 1 })),
    port: message({ number: integer({ min: 1, max: 65535 }), name: string() }),
  }),
  resource: struct,
})
export type IngressBackend = Infer<typeof backend>

export const ingress = message({
  ingressClassName: string(),
  defaultBackend: backend,
  tls: list(message({ hosts: list(string()), secretName: string() })),
  rules: list(
    message({
      host: string(),
      http: message({
        paths: required(
          list(
            message({
              path: string(),
              pathType: required(oneOfNames('Exact', 'Prefix', 'ImplementationSpecific')),
              backend: required(backend),
            }),
          ),
        ),
      }),
    }),
  ),
})
export type IngressSpec = Infer<typeof ingress>

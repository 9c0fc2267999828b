import { type Infer, integer, list, map, message, oneOfNames, required, string } from '../schema.ts'
import { workloadSelector } from './common.ts'

const workloadFields = {
  address: string({ maxLength: 256 }),
  ports: map(integer({ min: 1, max: 65535 })),
  labels: map(string()),
  network: string({ maxLength: 2048 }),
  locality: string({ maxLength: 2048 }),
  weight: integer({ min: 0 }),
  serviceAccount: string({ maxLength: 253 }),
}

export const workloadEntry = message(workloadFields)
export type WorkloadEntrySpec = Infer<typeof workloadEntry>

const servicePort = message({
  number: required(integer({ min: 1, max: 65535 })),
  name: required(string({ minLength: 1, maxLength: 256 })),
  protocol: string({ maxLength: 256 }),
  targetPort: integer({ min: 1, max: 65535 }),
})
export type ServiceEntryPort = Infer<typeof servicePort>

export const serviceEntry = message({
  hosts: required(list(string(), { min: 1, max: 256 })),
  addresses: list(string({ maxLength: 64 }), { max: 256 }),
  ports: list(servicePort, { max: 256 }),
  location: oneOfNames('MESH_EXTERNAL', 'MESH_INTERNAL'),
  resolution: oneOfNames('NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'),
  endpoints: list(workloadEntry, { max: 4096 }),
  workloadSelector,
  exportTo: list(string()),
  subjectAltNames: list(string()),
})
export type ServiceEntrySpec = Infer<typeof serviceEntry>

const headerName = string({ pattern: /^[-_A-Za-z0-9]+$/ })
const probe = message(
  {
    initialDelaySeconds: integer({ min: 0 }),
    timeoutSeconds: integer({ min: 0 }),
    periodSeconds: integer({ min: 0 }),
    successThreshold: integer({ min: 0 }),
    failureThreshold: integer({ min: 0 }),
    httpGet: message({
      path: string(),
      port: required(integer({ min: 1, max: 65535 })),
      host: string(),
      scheme: string(),
      httpHeaders: list(message({ name: headerName, value: string() })),
    }),
    tcpSocket: message({ host: string(), port: required(integer({ min: 1, max: 65535 })) }),
    exec: message({ command: required(list(string({ minLength: 1 }))) }),
    grpc: message({ port: integer({ min: 1, max: 65535 }), service: string() }),
  },
  { oneof: [['httpGet', 'tcpSocket', 'exec', 'grpc']] },
)

export const workloadGroup = message({
  metadata: message({ labels: map(string()), annotations: map(string()) }),
  template: required(workloadEntry),
  probe,
})
export type WorkloadGroupSpec = Infer<typeof workloadGroup>

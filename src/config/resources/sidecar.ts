import { type Infer, integer, list, message, oneOfNames, required, string } from '../schema.ts'
import { destination, workloadSelector } from './common.ts'
import { connectionPool } from './destination-rule.ts'
import { serverTls } from './gateway.ts'

const sidecarPort = message({
  number: integer({ min: 0 }),
  protocol: string(),
  name: string(),
  targetPort: integer({ min: 0 }),
})
const captureMode = oneOfNames('DEFAULT', 'IPTABLES', 'NONE')
export type CaptureMode = Infer<typeof captureMode>

const ingressListener = message({
  port: required(sidecarPort),
  bind: string(),
  captureMode,
  defaultEndpoint: string(),
  tls: serverTls,
  connectionPool,
})
export type IstioIngressListener = Infer<typeof ingressListener>

const egressListener = message({
  port: sidecarPort,
  bind: string(),
  captureMode,
  hosts: required(list(string())),
})
export type IstioEgressListener = Infer<typeof egressListener>

const outboundTrafficPolicy = message({
  mode: oneOfNames('REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS'),
  egressProxy: destination,
})
export type OutboundTrafficPolicy = Infer<typeof outboundTrafficPolicy>

export const sidecar = message({
  workloadSelector,
  ingress: list(ingressListener),
  egress: list(egressListener),
  inboundConnectionPool: connectionPool,
  outboundTrafficPolicy,
})
export type SidecarSpec = Infer<typeof sidecar>

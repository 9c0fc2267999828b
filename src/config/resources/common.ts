// Messages that several Istio APIs share.
import { double, type Infer, integer, list, map, message, oneOfNames, required, string } from '../schema.ts'

const labelName = map(string({ maxLength: 63 }))

/** `workloadSelector` of the networking API. */
export const workloadSelector = message({ labels: labelName })
export type WorkloadSelector = Infer<typeof workloadSelector>

/** `selector` of the security, telemetry and extension APIs. */
export const policySelector = message({ matchLabels: labelName })
export type PolicySelector = Infer<typeof policySelector>

export const targetReference = message({
  group: string({ maxLength: 253, pattern: /^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/ }),
  kind: required(string({ minLength: 1, maxLength: 63, pattern: /^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/ })),
  name: required(string({ minLength: 1, maxLength: 253 })),
  namespace: string(),
})
export type TargetReference = Infer<typeof targetReference>
export const targetReferences = list(targetReference, { max: 16 })

/** Exact, prefix or RE2 regex; none set means "present". */
export const stringMatch = message(
  { exact: string(), prefix: string(), regex: string() },
  { oneof: [['exact', 'prefix', 'regex']] },
)
export type StringMatch = Infer<typeof stringMatch>

/** A percentage, 0.0 to 100.0. */
export const percent = message({ value: double() })
export type Percent = Infer<typeof percent>

export const portNumber = integer({ min: 0, max: 65535 })

export const destination = message({
  host: required(string()),
  subset: string(),
  port: message({ number: integer({ min: 0 }) }),
})
export type Destination = Infer<typeof destination>

const tlsMode = oneOfNames('DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL')
export type ClientTlsMode = Infer<typeof tlsMode>
export { tlsMode as clientTlsMode }

const protocolVersion = oneOfNames('TLS_AUTO', 'TLSV1_0', 'TLSV1_1', 'TLSV1_2', 'TLSV1_3')
export type TlsProtocolVersion = Infer<typeof protocolVersion>
export { protocolVersion as tlsProtocolVersion }

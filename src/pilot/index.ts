// Public entry of the control plane.
export type { GatewayWorkload } from './gateway-api/workload.ts'
export { type Pilot, type PilotOptions, type SecureGrpcOptions, type StatusUpdate, startPilot } from './pilot.ts'
export { untranslated, untranslatedMesh } from './untranslated.ts'

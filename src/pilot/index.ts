// Public entry of the control plane.
export { followConfigSources } from './config-sources.ts'
export type { GatewayWorkload } from './gateway-api/workload.ts'
export { meshConfigMapProblems } from './mesh-sources.ts'
export { ISTIOD_NAMES, type Pilot, type PilotOptions, type SecureGrpcOptions, type StatusUpdate } from './options.ts'
export { startPilot } from './pilot.ts'
export type { Refusal } from './push/discovery-server.ts'
export { untranslated } from './untranslated.ts'

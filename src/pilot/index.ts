// Public entry of the control plane.
export { type Pilot, type PilotOptions, type SecureGrpcOptions, startPilot } from './pilot.ts'
export { untranslated, untranslatedGatewayApi } from './untranslated.ts'

// istiod's validation rules, one validator a kind; each adds to the problems what its schema cannot say.
import type { IstioKind } from '../kinds.ts'
import type { Resource } from '../resource.ts'
import type { Problems } from '../schema.ts'
import { validateDestinationRule } from './destination-rule.ts'
import {
  validateEnvoyFilter,
  validateProxyConfig,
  validateTelemetry,
  validateTrafficExtension,
  validateWasmPlugin,
} from './extensions.ts'
import { validateGateway } from './gateway.ts'
import { validateAuthorizationPolicy, validatePeerAuthentication, validateRequestAuthentication } from './security.ts'
import { validateServiceEntry, validateWorkloadEntry, validateWorkloadGroup } from './service-entry.ts'
import { validateSidecar } from './sidecar.ts'
import { validateVirtualService } from './virtual-service.ts'

type Validator<K extends IstioKind> = (resource: Resource<K>, problems: Problems) => void

export const VALIDATORS: { readonly [K in IstioKind]: Validator<K> } = {
  Gateway: validateGateway,
  VirtualService: validateVirtualService,
  DestinationRule: validateDestinationRule,
  ServiceEntry: validateServiceEntry,
  WorkloadEntry: validateWorkloadEntry,
  WorkloadGroup: validateWorkloadGroup,
  Sidecar: validateSidecar,
  EnvoyFilter: validateEnvoyFilter,
  ProxyConfig: validateProxyConfig,
  PeerAuthentication: validatePeerAuthentication,
  RequestAuthentication: validateRequestAuthentication,
  AuthorizationPolicy: validateAuthorizationPolicy,
  Telemetry: validateTelemetry,
  TrafficExtension: validateTrafficExtension,
  WasmPlugin: validateWasmPlugin,
}

// The analysis messages: code, level and text, as users of istioctl know them.

export type Level = 'Info' | 'Warning' | 'Error'

/** One kind of message; `text` makes it from its arguments. */
export interface MessageType {
  readonly code: string
  readonly level: Level
  readonly text: (...args: readonly unknown[]) => string
}

const codes = new Set<string>()
/** Every code that there is. */
export const MESSAGE_CODES: ReadonlySet<string> = codes

/** Go's verbs as the templates use them: %v and %s print, lists as [a b]; %q quotes; %d is a number. */
function template(code: string, level: Level, format: string): MessageType {
  codes.add(code)
  return {
    code,
    level,
    text: (...args) => {
      let next = 0
      return format.replace(/%[vsqd]/g, (verb) => {
        const value = args[next++]
        return verb === '%q'
          ? JSON.stringify(String(value))
          : Array.isArray(value)
            ? `[${value.join(' ')}]`
            : String(value)
      })
    },
  }
}

export const Deprecated = template('IST0002', 'Warning', 'Deprecated: %s')
export const ReferencedResourceNotFound = template('IST0101', 'Error', 'Referenced %s not found: %q')
export const NamespaceNotInjected = template(
  'IST0102',
  'Info',
  "The namespace is not enabled for Istio injection. Run 'kubectl label namespace %s istio-injection=enabled' to enable it, or 'kubectl label namespace %s istio-injection=disabled' to explicitly mark it as not needing injection.",
)
export const PodMissingProxy = template(
  'IST0103',
  'Warning',
  'The pod %s is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.',
)
export const SchemaValidationError = template('IST0106', 'Error', 'Schema validation error: %v')
export const ConflictingMeshGatewayVirtualServiceHosts = template(
  'IST0109',
  'Error',
  'The VirtualServices %s associated with mesh gateway define the same host %s which can lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.',
)
export const ConflictingSidecarWorkloadSelectors = template(
  'IST0110',
  'Error',
  'The Sidecars %v in namespace %q select the same workload pod %q, which can lead to undefined behavior.',
)
export const MultipleSidecarsWithoutWorkloadSelectors = template(
  'IST0111',
  'Error',
  'The Sidecars %v in namespace %q have no workload selector, which can lead to undefined behavior.',
)
export const VirtualServiceDestinationPortSelectorRequired = template(
  'IST0112',
  'Error',
  'This VirtualService routes to a service %q that exposes multiple ports %v. Specifying a port in the destination is required to disambiguate.',
)
export const DeploymentAssociatedToMultipleServices = template(
  'IST0116',
  'Warning',
  'This deployment %s is associated with multiple services using port %d but different protocols: %v',
)
export const PortNameIsNotUnderNamingConvention = template(
  'IST0118',
  'Info',
  "Port name %s (port: %d, targetPort: %s) doesn't follow the naming convention of Istio port.",
)
export const NamespaceMultipleInjectionLabels = template(
  'IST0123',
  'Warning',
  'The namespace has more than one type of injection labels %v, which may lead to undefined behavior. Make sure only one injection label exists.',
)
export const NoMatchingWorkloadsFound = template(
  'IST0127',
  'Warning',
  'No matching workloads for this resource with the following labels: %s',
)
export const NoServerCertificateVerificationDestinationLevel = template(
  'IST0128',
  'Warning',
  'DestinationRule %s in namespace %s has TLS mode set to %s but no caCertificates are set to validate server identity for host: %s',
)
export const NoServerCertificateVerificationPortLevel = template(
  'IST0129',
  'Warning',
  'DestinationRule %s in namespace %s has TLS mode set to %s but no caCertificates are set to validate server identity for host: %s at port %s',
)
export const VirtualServiceUnreachableRule = template('IST0130', 'Warning', 'VirtualService rule %v not used (%s).')
export const VirtualServiceIneffectiveMatch = template(
  'IST0131',
  'Info',
  'VirtualService rule %v match %v is not used (duplicate/overlapping match in rule %v).',
)
export const VirtualServiceHostNotFoundInGateway = template(
  'IST0132',
  'Warning',
  'one or more host %v defined in VirtualService %s not found in Gateway %s.',
)
export const SchemaWarning = template('IST0133', 'Warning', 'Schema validation warning: %v')
export const ServiceEntryAddressesRequired = template(
  'IST0134',
  'Warning',
  'ServiceEntry addresses are required for this protocol.',
)
export const DeploymentConflictingPorts = template(
  'IST0137',
  'Warning',
  'This deployment %s is associated with multiple services %v using targetPort %q but different ports: %v.',
)
export const GatewayDuplicateCertificate = template(
  'IST0138',
  'Warning',
  'Duplicate certificate in multiple gateways %v may cause 404s if clients re-use HTTP2 connections.',
)
export const IngressRouteRulesNotAffected = template(
  'IST0140',
  'Warning',
  'Subset in virtual service %s has no effect on ingress gateway %s requests',
)
export const InvalidApplicationUID = template(
  'IST0144',
  'Warning',
  'User ID (UID) 1337 is reserved for the sidecar proxy.',
)
export const ConflictingGateways = template(
  'IST0145',
  'Error',
  'Conflict with gateways %s (workload selector %s, port %s, hosts %v).',
)
export const ImageAutoWithoutInjectionWarning = template(
  'IST0146',
  'Warning',
  '%s %s contains `image: auto` but does not match any Istio injection webhook selectors.',
)
export const ImageAutoWithoutInjectionError = template(
  'IST0147',
  'Error',
  '%s %s contains `image: auto` but does not match any Istio injection webhook selectors.',
)
export const JwtClaimBasedRoutingWithoutRequestAuthN = template(
  'IST0149',
  'Error',
  'The virtual service uses the JWT claim based routing (key: %s) but found no request authentication for the gateway (%s) pod (%s). The request authentication must first be applied for the gateway pods to validate the JWT token and make the claims available for routing.',
)
export const ExternalNameServiceTypeInvalidPortName = template(
  'IST0150',
  'Warning',
  'Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic for ports serving TCP protocol from being forwarded correctly',
)
export const EnvoyFilterUsesRelativeOperation = template(
  'IST0151',
  'Warning',
  'This EnvoyFilter does not have a priority and has a relative patch operation set which can cause the EnvoyFilter not to be applied. Using the INSERT_FIRST of ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.',
)
export const EnvoyFilterUsesReplaceOperationIncorrectly = template(
  'IST0152',
  'Error',
  'The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.',
)
export const EnvoyFilterUsesAddOperationIncorrectly = template(
  'IST0153',
  'Error',
  'The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.',
)
export const EnvoyFilterUsesRemoveOperationIncorrectly = template(
  'IST0154',
  'Error',
  'The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.',
)
export const EnvoyFilterUsesRelativeOperationWithProxyVersion = template(
  'IST0155',
  'Warning',
  'This EnvoyFilter does not have a priority and has a relative patch operation (NSTERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion set which can cause the EnvoyFilter not to be applied during an upgrade. Using the INSERT_FIRST or ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.',
)
export const InvalidTelemetryProvider = template(
  'IST0157',
  'Warning',
  'The Telemetry %v in namespace %q with empty providers will be ignored.',
)
export const ConflictingTelemetryWorkloadSelectors = template(
  'IST0159',
  'Error',
  'The Telemetries %v in namespace %q select the same workload pod %q, which can lead to undefined behavior.',
)
export const MultipleTelemetriesWithoutWorkloadSelectors = template(
  'IST0160',
  'Error',
  'The Telemetries %v in namespace %q have no workload selector, which can lead to undefined behavior.',
)
export const InvalidGatewayCredential = template(
  'IST0161',
  'Error',
  'The credential referenced by the Gateway %s in namespace %s is invalid, which can cause the traffic not to work as expected.',
)
export const GatewayPortNotDefinedOnService = template(
  'IST0162',
  'Warning',
  'The gateway is listening on a target port (port %d) that is not defined in the Service associated with its workload instances (Pod selector %s). If you need to access the gateway port through the gateway Service, it will not be available.',
)
export const IneffectiveSelector = template(
  'IST0166',
  'Warning',
  'Ineffective selector on Kubernetes Gateway %s. Use the TargetRef field instead.',
)
export const DestinationRuleSubsetNotSelectPods = template(
  'IST0173',
  'Error',
  'The Subset %s defined in the DestinationRule does not select any pods. Which may lead to 503 UH (NoHealthyUpstream).',
)
export const UnknownDestinationRuleHost = template(
  'IST0174',
  'Warning',
  'The host %s defined in the DestinationRule does not match any services in the mesh.',
)
export const ConflictingServiceEntryProtocol = template(
  'IST0177',
  'Warning',
  'Multiple ServiceEntries (%s) define the same host %q and port %d with conflicting protocols (%s).',
)
export const IneffectivePolicy = template('IST0167', 'Warning', 'The policy has no impact: %s.')
export const JwksUriFetchUnrestricted = template(
  'IST0175',
  'Warning',
  'BLOCKED_CIDRS_IN_JWKS_URIS is not configured but %d RequestAuthentication resource(s) exist (%s). Consider configuring it to restrict JWKS URI fetches to trusted networks.',
)
export const MisplacedAnnotation = template('IST0107', 'Warning', 'Misplaced annotation: %s can only be applied to %s')
export const UnknownAnnotation = template('IST0108', 'Warning', 'Unknown annotation: %s')
export const InvalidAnnotation = template('IST0125', 'Warning', 'Invalid annotation %s: %s')
export const UnknownMeshNetworksServiceRegistry = template(
  'IST0126',
  'Error',
  'Unknown service registry %s in network %s',
)
export const DeprecatedAnnotation = template(
  'IST0135',
  'Info',
  'Annotation %q has been deprecated%s and may not work in future Istio versions.',
)
export const AlphaAnnotation = template(
  'IST0136',
  'Info',
  'Annotation %q is part of an alpha-phase feature and may be incompletely supported.',
)
export const InvalidWebhook = template('IST0139', 'Error', '%v')
export const InvalidExternalControlPlaneConfig = template(
  'IST0163',
  'Warning',
  'The hostname (%s) that was provided for the webhook (%s) to reach the ingress gateway on the external control plane cluster %s. Traffic may not flow properly.',
)
export const ExternalControlPlaneAddressIsNotAHostname = template(
  'IST0164',
  'Info',
  'The address (%s) that was provided for the webhook (%s) to reach the ingress gateway on the external control plane cluster is an IP address. This is not recommended for a production environment.',
)
export const GatewayAPICRDVersionBelowMinimum = template(
  'IST0176',
  'Warning',
  'Gateway API CRD %q is at version %q but Istio requires at least %q; resources of this kind will not be processed. Upgrade the Gateway API CRDs to satisfy the minimum version.',
)
export const NamespaceInjectionEnabledByDefault = template(
  'IST0148',
  'Info',
  'is enabled for Istio injection, as Istio is installed with enableNamespacesByDefault as true.',
)
export const PodsIstioProxyImageMismatchInNamespace = template(
  'IST0158',
  'Warning',
  'The Istio proxy images of the pods running in the namespace do not match the image defined in the injection configuration (pod names: %v). This often happens after upgrading the Istio control-plane and can be fixed by redeploying the pods.',
)
export const ReferencedInternalGateway = template(
  'IST0165',
  'Warning',
  'Gateway reference in VirtualService %s is to an implementation-generated internal Gateway: %s.',
)
export const NegativeConditionStatus = template(
  'IST0171',
  'Warning',
  'A condition with a negative status is present: type=%s, reason=%s, message=%s.',
)
export const InsufficientPermissions = template(
  'IST0141',
  'Error',
  'Missing required permission to create resource %v (%v)',
)
export const UpdateIncompatibility = template(
  'IST0169',
  'Warning',
  'The configuration %q changed in release %s: %s. Or, install with `--set compatibilityVersion=%s` to retain the old default.',
)

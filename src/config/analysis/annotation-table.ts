// Istio's annotations: how mature they are, what they belong on, and how their values are checked.

type Maturity = 'stable' | 'beta' | 'alpha'

export interface AnnotationRule {
  readonly maturity: Maturity
  /** Kinds; `Any` = every kind. */
  readonly kinds: readonly string[]
  /** What is wrong with a value, or null. */
  check(value: string): string | null
}

const anything = () => null
const integer = (value: string) => (/^-?\d+$/.test(value) ? null : `"${value}" is not an integer`)
const bool = (value: string) => (/^(true|false|1|0|t|f|yes|no)$/i.test(value) ? null : `"${value}" is not a boolean`)

function ports(value: string): string | null {
  if (value === '' || value === '*') return null
  const wrong = value.split(',').find((port) => !/^\d+$/.test(port.trim()) || Number(port) > 65535)
  return wrong === undefined ? null : `"${wrong}" is not a port`
}

function ranges(value: string): string | null {
  if (value === '' || value === '*') return null
  const wrong = value.split(',').find((range) => !/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(range.trim()))
  return wrong === undefined ? null : `"${wrong}" is not a CIDR range`
}

function interception(value: string): string | null {
  return ['REDIRECT', 'TPROXY', 'NONE'].includes(value) ? null : `"${value}" is not REDIRECT, TPROXY or NONE`
}

const POD = ['Pod']
const SERVICE = ['Service']

function rules(
  maturity: Maturity,
  kinds: readonly string[],
  checks: Readonly<Record<string, (value: string) => string | null>>,
) {
  return Object.entries(checks).map(([name, check]): [string, AnnotationRule] => [name, { maturity, kinds, check }])
}

const SIDECAR = 'sidecar.istio.io/'
const TRAFFIC = 'traffic.sidecar.istio.io/'
const READINESS = 'readiness.status.sidecar.istio.io/'

export const ANNOTATIONS: ReadonlyMap<string, AnnotationRule> = new Map([
  ...rules('stable', ['Ingress'], { 'kubernetes.io/ingress.class': anything }),
  ...rules('stable', SERVICE, {
    'traffic.istio.io/nodeSelector': anything,
    'networking.istio.io/traffic-distribution': anything,
  }),
  ...rules('beta', POD, { 'proxy.istio.io/config': anything, [`${SIDECAR}inject`]: bool }),
  ...rules('alpha', ['Any'], { 'galley.istio.io/analyze-suppress': anything }),
  ...rules('alpha', SERVICE, { 'networking.istio.io/exportTo': anything }),
  ...rules('alpha', ['Namespace'], { 'topology.istio.io/controlPlaneClusters': anything }),
  ...rules('alpha', ['Gateway'], {
    'networking.istio.io/address-type': anything,
    'networking.istio.io/service-type': anything,
  }),
  ...rules('alpha', POD, {
    'inject.istio.io/templates': anything,
    'prometheus.istio.io/merge-metrics': bool,
    'proxy.istio.io/overrides': anything,
    'istio.io/reroute-virtual-interfaces': anything,
    'status.sidecar.istio.io/port': integer,
    [`${READINESS}applicationPorts`]: ports,
    [`${READINESS}failureThreshold`]: integer,
    [`${READINESS}initialDelaySeconds`]: integer,
    [`${READINESS}periodSeconds`]: integer,
    [`${SIDECAR}agentLogLevel`]: anything,
    [`${SIDECAR}bootstrapOverride`]: anything,
    [`${SIDECAR}componentLogLevel`]: anything,
    [`${SIDECAR}enableCoreDump`]: bool,
    [`${SIDECAR}extraStatTags`]: anything,
    [`${SIDECAR}interceptionMode`]: interception,
    [`${SIDECAR}logLevel`]: anything,
    [`${SIDECAR}nativeSidecar`]: bool,
    [`${SIDECAR}proxyCPU`]: anything,
    [`${SIDECAR}proxyCPULimit`]: anything,
    [`${SIDECAR}proxyImage`]: anything,
    [`${SIDECAR}proxyImageType`]: anything,
    [`${SIDECAR}proxyMemory`]: anything,
    [`${SIDECAR}proxyMemoryLimit`]: anything,
    [`${SIDECAR}rewriteAppHTTPProbers`]: bool,
    [`${SIDECAR}statsCompression`]: bool,
    [`${SIDECAR}statsEvictionInterval`]: anything,
    [`${SIDECAR}statsHistogramBuckets`]: anything,
    [`${SIDECAR}statsInclusionPrefixes`]: anything,
    [`${SIDECAR}statsInclusionRegexps`]: anything,
    [`${SIDECAR}statsInclusionSuffixes`]: anything,
    [`${SIDECAR}userVolume`]: anything,
    [`${SIDECAR}userVolumeMount`]: anything,
    [`${TRAFFIC}excludeInboundPorts`]: ports,
    [`${TRAFFIC}excludeInterfaces`]: anything,
    [`${TRAFFIC}excludeOutboundIPRanges`]: ranges,
    [`${TRAFFIC}excludeOutboundPorts`]: ports,
    [`${TRAFFIC}includeInboundPorts`]: ports,
    [`${TRAFFIC}includeOutboundIPRanges`]: ranges,
    [`${TRAFFIC}includeOutboundPorts`]: ports,
  }),
  ...rules('alpha', POD, {
    [`${SIDECAR}controlPlaneAuthPolicy`]: anything,
    [`${SIDECAR}discoveryAddress`]: anything,
    [`${TRAFFIC}kubevirtInterfaces`]: anything,
  }),
  ...rules('alpha', SERVICE, {
    'alpha.istio.io/canonical-serviceaccounts': anything,
    'alpha.istio.io/kubernetes-serviceaccounts': anything,
  }),
])

/** Annotations that Istio wants to be rid of. */
export const DEPRECATED_ANNOTATIONS: ReadonlySet<string> = new Set([
  'alpha.istio.io/canonical-serviceaccounts',
  'alpha.istio.io/kubernetes-serviceaccounts',
  `${SIDECAR}controlPlaneAuthPolicy`,
  `${SIDECAR}discoveryAddress`,
  `${SIDECAR}extraStatTags`,
  `${SIDECAR}inject`,
  `${SIDECAR}statsCompression`,
  `${SIDECAR}statsInclusionPrefixes`,
  `${SIDECAR}statsInclusionRegexps`,
  `${SIDECAR}statsInclusionSuffixes`,
  `${TRAFFIC}kubevirtInterfaces`,
])

/** Written by the platform, not by people. */
const PLATFORM = new Set([
  'istio.io/rev',
  'ambient.istio.io/redirection',
  'gateway.istio.io/controller-version',
  'sidecar.istio.io/status',
])
/** What injection with the CNI plugin writes into each pod. */
const INJECTED_WITH_CNI = new Set([
  `${SIDECAR}interceptionMode`,
  `${TRAFFIC}excludeInboundPorts`,
  `${TRAFFIC}includeInboundPorts`,
  `${TRAFFIC}includeOutboundIPRanges`,
])

/** True for annotations that nobody wrote by hand. `cni`: the pod has the istio-validation container. */
export function isPlatformAnnotation(name: string, cni: boolean): boolean {
  return PLATFORM.has(name) || (cni && INJECTED_WITH_CNI.has(name))
}

/** True when the name is of Istio's domain. */
export function isIstioAnnotation(name: string): boolean {
  const domain = name.split('/')[0]!
  return name === 'kubernetes.io/ingress.class' || domain === 'istio.io' || domain.endsWith('.istio.io')
}

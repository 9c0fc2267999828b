// Istio's annotations: how mature they are, what they belong on, and how their values are checked.

import { parseProxyConfigText } from '../mesh-text.ts'

type Maturity = 'stable' | 'beta' | 'alpha'

export interface AnnotationRule {
  readonly maturity: Maturity
  /** Kinds; `Any` = every kind. */
  readonly kinds: readonly string[]
  /** What is wrong with a value, or null. */
  check(value: string): string | null
}

const anything = () => null
const integer = (value: string) => (/^\d+$/.test(value) ? null : `"${value}" is no whole number`)
const bool = (value: string) =>
  /^(true|True|TRUE|false|False|FALSE|1|0|t|T|f|F)$/.test(value) ? null : `"${value}" is not a boolean`
const quantity = (value: string) =>
  /^[-+]?(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?\d+)?$/.test(value) ? null : `"${value}" is no quantity`

function ports(value: string): string | null {
  if (value.trim() === '') return null
  const wrong = value.split(',').find((port) => !/^\d+$/.test(port.trim()) || Number(port) > 65535)
  return wrong === undefined ? null : `"${wrong}" is not a port`
}

function ranges(value: string): string | null {
  if (value === '') return null
  const wrong = value.split(',').find((range) => !/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(range.trim()))
  return wrong === undefined ? null : `"${wrong}" is not a CIDR range`
}

const orAll = (check: (value: string) => string | null) => (value: string) => (value === '*' ? null : check(value))

function interception(value: string): string | null {
  return ['REDIRECT', 'TPROXY', 'NONE'].includes(value) ? null : `"${value}" is not REDIRECT, TPROXY or NONE`
}

function proxyConfig(value: string): string | null {
  const result = parseProxyConfigText(value)
  if (result.ok) return null
  const { path, message } = result.problems[0]!
  return path ? `${path}: ${message}` : message
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
  ...rules('beta', POD, { 'proxy.istio.io/config': proxyConfig, [`${SIDECAR}inject`]: anything }),
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
    [`${READINESS}applicationPorts`]: anything,
    [`${READINESS}failureThreshold`]: integer,
    [`${READINESS}initialDelaySeconds`]: integer,
    [`${READINESS}periodSeconds`]: integer,
    [`${SIDECAR}agentLogLevel`]: anything,
    [`${SIDECAR}bootstrapOverride`]: anything,
    [`${SIDECAR}componentLogLevel`]: anything,
    [`${SIDECAR}enableCoreDump`]: anything,
    [`${SIDECAR}extraStatTags`]: anything,
    [`${SIDECAR}interceptionMode`]: interception,
    [`${SIDECAR}logLevel`]: anything,
    [`${SIDECAR}nativeSidecar`]: anything,
    [`${SIDECAR}proxyCPU`]: quantity,
    [`${SIDECAR}proxyCPULimit`]: quantity,
    [`${SIDECAR}proxyImage`]: anything,
    [`${SIDECAR}proxyImageType`]: anything,
    [`${SIDECAR}proxyMemory`]: quantity,
    [`${SIDECAR}proxyMemoryLimit`]: quantity,
    [`${SIDECAR}rewriteAppHTTPProbers`]: anything,
    [`${SIDECAR}statsCompression`]: anything,
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
    [`${TRAFFIC}includeInboundPorts`]: orAll(ports),
    [`${TRAFFIC}includeOutboundIPRanges`]: orAll(ranges),
    [`${TRAFFIC}includeOutboundPorts`]: anything,
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

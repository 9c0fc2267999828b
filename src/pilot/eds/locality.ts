// Locality load balancing: distribute, failover and failoverPriority turned into weights and priorities.

import type { LocalityLbSetting, ZoneAwareLbSetting } from '../../config/index.ts'
import { zoneAwareSetting } from '../cds/traffic-policy.ts'
import type { Endpoint, Locality } from '../model/service.ts'
import { NETWORK_LABEL } from '../registry/network-lookup.ts'
import type { AssignmentInputs, LocalityGroup } from './endpoints.ts'

/** Applies the setting that holds for a cluster (null: none) to its groups, which are in locality order. */
export function applyLocality(
  groups: LocalityGroup[],
  inputs: AssignmentInputs,
  setting: LocalityLbSetting | null,
): LocalityGroup[] {
  const { proxy, service, policy } = inputs
  const zoneAware = zoneAwareSetting(policy.loadBalancer, service, inputs.push.mesh)
  if (zoneAware) return zoneAware.enabled === false ? groups : byRegion(groups, zoneAware, inputs)
  const preference = service.attributes.trafficDistribution
  const own = policy.loadBalancer?.localityLbSetting
  if (!own && preference !== '') {
    const labels = preference === 'PreferSameNode' ? NODE_PRIORITY : ZONE_PRIORITY
    return byLabels(groups, labels, placeLabels(inputs))
  }
  if (!setting) return groups
  if (setting.distribute?.length) {
    distribute(groups, proxy.locality, setting.distribute)
    return groups
  }
  // Without outlier detection nothing is ever ejected, so lower priorities would never be used.
  if (!policy.outlierDetection) return groups
  const { failoverPriority: labels, failover } = setting
  if (!labels?.length) return byPlace(groups, proxy.locality, failover ?? [])
  const labelled = byLabels(groups, labels, placeLabels(inputs))
  return failover?.length ? byPlace(labelled, proxy.locality, failover) : labelled
}

/** The nearer the better, among groups of one priority. */
function byPlace(
  groups: LocalityGroup[],
  from: Locality,
  failover: NonNullable<LocalityLbSetting['failover']>,
): LocalityGroup[] {
  for (const group of groups) group.priority = group.priority * 5 + failoverPriority(group, from, failover)
  return compact(groups)
}

const ZONE_PRIORITY = [NETWORK_LABEL, 'topology.kubernetes.io/region', 'topology.kubernetes.io/zone']
const NODE_PRIORITY = [...ZONE_PRIORITY, 'topology.istio.io/subzone', 'kubernetes.io/hostname']

/** Labels first, then the proxy's region, the one it fails over to, the rest: zones of one region share a priority. */
function byRegion(groups: LocalityGroup[], setting: ZoneAwareLbSetting, inputs: AssignmentInputs): LocalityGroup[] {
  const { region } = inputs.proxy.locality
  const next = setting.failover?.find(({ from }) => from === region)?.to
  const all = setting.failoverPriority?.length
    ? byLabels(groups, setting.failoverPriority, placeLabels(inputs))
    : groups
  for (const group of all) {
    const place = group.region === region ? 0 : group.region === next ? 1 : 2
    group.priority = group.priority * 3 + place
  }
  return compact(all)
}

/** The proxy's labels with its place, as endpoints carry theirs. */
function placeLabels(inputs: AssignmentInputs): Readonly<Record<string, string>> {
  const { locality, labels, nodeName, clusterId, network } = inputs.proxy
  const out: Record<string, string> = { ...labels }
  if (locality.region) out['topology.kubernetes.io/region'] = locality.region
  if (locality.zone) out['topology.kubernetes.io/zone'] = locality.zone
  if (locality.subzone) out['topology.istio.io/subzone'] = locality.subzone
  if (nodeName) out['kubernetes.io/hostname'] = nodeName
  if (clusterId) out['topology.istio.io/cluster'] = clusterId
  if (network) out[NETWORK_LABEL] ||= network
  return out
}

/** `region/zone/*` names everything below; a shorter name is a wildcard, too. */
function localityMatches(locality: Locality, pattern: string): boolean {
  const [region, zone, subzone] = pattern.split('/')
  if (region !== '*' && region !== locality.region) return false
  if (zone === undefined || zone === '*') return true
  if (zone !== locality.zone) return false
  return subzone === undefined || subzone === '*' || subzone === locality.subzone
}

function distribute(
  groups: readonly LocalityGroup[],
  from: Locality,
  rules: NonNullable<LocalityLbSetting['distribute']>,
): void {
  const rule = rules.find((r) => localityMatches(from, r.from ?? ''))
  if (!rule) return
  const left = new Set(groups)
  for (const [pattern, percent] of Object.entries(rule.to ?? {})) {
    const matching = [...left].filter((group) => localityMatches(group, pattern))
    let total = 0
    for (const group of matching) {
      left.delete(group)
      total += group.weight || 1
    }
    for (const group of matching) group.weight = Math.ceil(((group.weight || 1) * percent) / total)
  }
  for (const group of left) group.sent = false
}

function failoverPriority(
  group: Locality,
  from: Locality,
  failover: NonNullable<LocalityLbSetting['failover']>,
): number {
  if (group.region === from.region) {
    if (group.zone !== from.zone) return 2
    return group.subzone === from.subzone ? 0 : 1
  }
  const rule = failover.find((f) => f.from === from.region)
  return !rule || rule.to === group.region ? 3 : 4
}

/** Priorities must be consecutive from 0. */
function compact(groups: LocalityGroup[]): LocalityGroup[] {
  const used = [...new Set(groups.map((g) => g.priority))].sort((a, b) => a - b)
  for (const group of groups) group.priority = used.indexOf(group.priority)
  return groups
}

/** How many of the labels, from the last on, do not count because one before them differs. */
function labelPriority({ labels }: Endpoint, wanted: readonly WantedLabel[]): number {
  // Another network only comes after the own one: the labels that follow count within each.
  const foreign = wanted[0]?.entry === NETWORK_LABEL && labels[NETWORK_LABEL] !== wanted[0].value
  let matched = foreign ? 1 : 0
  while (matched < wanted.length && labels[wanted[matched]!.key] === wanted[matched]!.value) matched++
  return wanted.length - matched + (foreign ? wanted.length : 0)
}

interface WantedLabel {
  /** As failoverPriority has it. */
  readonly entry: string
  readonly key: string
  readonly value: string | undefined
}

/** The more of the listed labels an endpoint shares with the proxy (from the first on), the higher its priority. */
function byLabels(
  groups: readonly LocalityGroup[],
  names: readonly string[],
  mine: Readonly<Record<string, string>>,
): LocalityGroup[] {
  // A value that is given for a label holds wherever the label is named.
  const given = new Map(
    names.filter((entry) => entry.includes('=')).map((entry) => entry.split('=', 2) as [string, string]),
  )
  const wanted = names.map((entry): WantedLabel => {
    const key = entry.split('=', 1)[0]!
    return { entry, key, value: given.get(key) ?? mine[key] }
  })
  const out: LocalityGroup[] = []
  for (const group of groups) {
    const byPriority = new Map<number, Endpoint[]>()
    for (const endpoint of group.endpoints) {
      const priority = labelPriority(endpoint, wanted)
      const list = byPriority.get(priority)
      if (list) list.push(endpoint)
      else byPriority.set(priority, [endpoint])
    }
    for (const [priority, endpoints] of [...byPriority].sort(([a], [b]) => a - b)) {
      out.push({ ...group, endpoints, priority, weight: weightOf(endpoints) })
    }
  }
  return compact(out)
}

/** Envoy's weights are 32 bits wide; a sum beyond that would be refused. */
export const MAX_WEIGHT = 4294967295

/** Sum of endpoint weights, each 1 by default. */
export function weightOf(endpoints: readonly Endpoint[]): number {
  let sum = 0
  for (const endpoint of endpoints) sum += endpoint.weight || 1
  return Math.min(sum, MAX_WEIGHT)
}

// ConfigMaps that lay something over what every Gateway of a class is given.
import type { KubeObject } from '../../cluster/index.ts'
import { compareText } from '../model/host.ts'

/** Label of such a ConfigMap; its value is the class. */
const DEFAULTS_LABEL = 'gateway.istio.io/defaults-for-class'

/** The oldest ConfigMap of the root namespace with defaults for the class; they hold in all namespaces. */
export function classDefaults(
  objects: Iterable<KubeObject>,
  rootNamespace: string,
  gatewayClass: string,
): KubeObject | undefined {
  let found: KubeObject | undefined
  for (const object of objects) {
    const { namespace, labels } = object.metadata
    if (object.kind !== 'ConfigMap' || namespace !== rootNamespace) continue
    if (labels?.[DEFAULTS_LABEL] !== gatewayClass) continue
    if (!found || byAge(object, found) < 0) found = object
  }
  return found
}

function byAge({ metadata: a }: KubeObject, { metadata: b }: KubeObject): number {
  return compareText(a.creationTimestamp ?? '', b.creationTimestamp ?? '') || compareText(a.name, b.name)
}

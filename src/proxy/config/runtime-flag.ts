import type { RuntimeFeatureFlag } from '../../api/gen/envoy/config/core/v3/base_pb.js'

/** A RuntimeFeatureFlag as plain data. */
export interface RuntimeFlag {
  readonly key: string
  readonly value: boolean
}

/** Without one a filter is on. */
export function runtimeFlag(flag: RuntimeFeatureFlag | undefined): RuntimeFlag {
  return { key: flag?.runtimeKey ?? '', value: flag?.defaultValue ?? true }
}

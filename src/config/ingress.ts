import { ok, type Problem, type Result } from '../base/errors.ts'
import { parseMetadata } from './parse.ts'
import type { ResourceMetadata, ResourceOrigin } from './resource.ts'
import { type IngressSpec, ingress } from './resources/ingress.ts'
import { isRecord, Problems } from './schema.ts'

/** A parsed Kubernetes Ingress. */
export interface Ingress {
  readonly metadata: ResourceMetadata
  readonly spec: IngressSpec
  readonly origin?: ResourceOrigin
  readonly warnings: readonly Problem[]
}

/** Parses a networking.k8s.io/v1 Ingress; other versions and kinds are the caller's to tell apart. */
export function parseIngress(object: unknown, origin?: ResourceOrigin): Result<Ingress> {
  const problems = new Problems()
  const { metadata, spec } = isRecord(object) ? object : {}
  const parsed = {
    metadata: parseMetadata(metadata, problems),
    spec: ingress.parse(spec ?? {}, 'spec', problems) ?? {},
  }
  if (problems.failed) return { ok: false, problems: problems.list }
  return ok({ ...parsed, origin, warnings: problems.list })
}

import { fail, ok, type Result } from '../base/errors.ts'

/** Who a workload is: `spiffe://<trustDomain>/ns/<namespace>/sa/<serviceAccount>` (istio-contract 13.2). */
export interface SpiffeIdentity {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}

export function formatSpiffeId(identity: SpiffeIdentity): string {
  return `spiffe://${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`
}

/** Parses Istio's form of a SPIFFE id; any other path shape is refused. */
export function parseSpiffeId(id: string): Result<SpiffeIdentity> {
  const match = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id)
  if (match === null)
    return fail('', `"${id}" is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>`)
  return ok({ trustDomain: match[1]!, namespace: match[2]!, serviceAccount: match[3]! })
}

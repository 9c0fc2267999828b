// AdmissionReview (admission.k8s.io v1 and v1beta1): what the API server asks a webhook, and the answer.
import { errorText, type Problem } from '../../base/errors.ts'
import { type KubeObject, objectKey } from '../../cluster/index.ts'
import { isGatewayApiVersion, isIstioApiVersion, parseGatewayApi, parseResource } from '../../config/index.ts'
import { jsonPatch } from './json-patch.ts'

export interface AdmissionRequest {
  readonly uid: string
  readonly operation?: string
  readonly namespace?: string
  readonly object?: unknown
  readonly resource?: { readonly group?: string; readonly version?: string; readonly resource?: string }
}

interface AdmissionResponse {
  readonly uid: string
  readonly allowed: boolean
  readonly status?: { readonly message: string; readonly code: number }
  readonly warnings?: readonly string[]
  readonly patchType?: 'JSONPatch'
  /** Base64 of the JSON patch. */
  readonly patch?: string
}

export interface AdmissionReview {
  readonly apiVersion: string
  readonly kind: 'AdmissionReview'
  readonly response: AdmissionResponse
}

const API_VERSIONS = ['admission.k8s.io/v1', 'admission.k8s.io/v1beta1']

/** Answers a review with what `admit` says of its request. Throws Error when the body is no AdmissionReview. */
export function answerReview(
  body: unknown,
  admit: (request: AdmissionRequest) => Omit<AdmissionResponse, 'uid'>,
): AdmissionReview {
  const { apiVersion, kind, request } = asMapping(body, 'the body')
  if (kind !== 'AdmissionReview' || typeof apiVersion !== 'string' || !API_VERSIONS.includes(apiVersion)) {
    throw new Error(`the body must be an AdmissionReview of ${API_VERSIONS.join(' or ')}`)
  }
  const asked = asMapping(request, 'request')
  if (typeof asked.uid !== 'string') throw new Error('request.uid is missing')
  return {
    apiVersion,
    kind: 'AdmissionReview',
    response: { uid: asked.uid, ...admit(asked as unknown as AdmissionRequest) },
  }
}

function asMapping(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (!isObject(value)) throw new Error(`${what} must be an object`)
  return value
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function denied(message: string): Omit<AdmissionResponse, 'uid'> {
  return { allowed: false, status: { message, code: 400 } }
}

/** Why a resource is refused, in istiod's words; null: it is not. */
type Refusal = 'unknown_type' | 'invalid_resource' | null

/** What a validating webhook says: istiod's rules, the field and what to do in every line. */
export function reviewConfiguration({
  operation,
  object,
}: AdmissionRequest): Omit<AdmissionResponse, 'uid'> & { readonly reason: Refusal } {
  if (operation !== 'CREATE' && operation !== 'UPDATE') return { allowed: true, reason: null }
  const { apiVersion, kind } = (object ?? {}) as Partial<KubeObject>
  const parse = isIstioApiVersion(apiVersion) ? parseResource : isGatewayApiVersion(apiVersion) ? parseGatewayApi : null
  if (!parse) return { ...denied(`unrecognized type ${word(apiVersion)}, Kind=${word(kind)}`), reason: 'unknown_type' }
  const parsed = parse(object)
  if (parsed.ok) {
    const warnings = parsed.value.warnings.map(sentence)
    return { allowed: true, reason: null, ...(warnings.length > 0 ? { warnings } : {}) }
  }
  const errors = parsed.problems.filter(({ level }) => level === 'error').map(sentence)
  return { ...denied(`configuration is invalid: ${errors.join('; ')}`), reason: 'invalid_resource' }
}

function word(value: unknown): string {
  return typeof value === 'string' ? value : typeof value
}

function sentence({ path, message, hint }: Problem): string {
  return `${path ? `${path}: ` : ''}${message}${hint ? ` (${hint})` : ''}`
}

/** The pod as it should run; undefined: as it is. Throws when it must not run. */
export type InjectPod = (pod: KubeObject) => KubeObject | undefined

/** What a mutating webhook says: the patch that makes a pod the injected pod. */
export function reviewPod(
  { object, namespace }: AdmissionRequest,
  inject: InjectPod,
): Omit<AdmissionResponse, 'uid'> & { readonly injected: boolean } {
  const pod = object as KubeObject | null | undefined
  if (pod?.kind !== 'Pod' || !isObject(pod.metadata) || !isObject(pod.spec) || !Array.isArray(pod.spec.containers))
    return { ...denied('request.object is no Pod with containers'), injected: false }
  // The API server names the namespace beside a pod that was created without one.
  const placed = { ...pod, metadata: { ...pod.metadata, namespace: pod.metadata.namespace ?? namespace ?? 'default' } }
  let result: KubeObject | undefined
  try {
    result = inject(placed)
  } catch (error) {
    return { ...denied(`${objectKey(placed.metadata)}: ${errorText(error)}`), injected: false }
  }
  if (!result) return { allowed: true, injected: false }
  const { namespace: _namespace, ...metadata } = result.metadata
  const target = pod.metadata.namespace === undefined ? { ...result, metadata } : result
  const patch = Buffer.from(JSON.stringify(jsonPatch(pod, target))).toString('base64')
  return { allowed: true, patchType: 'JSONPatch', patch, injected: true }
}

import assert from 'node:assert/strict'
import { request } from 'node:https'
import { after, before, test } from 'node:test'
import { createLogger } from '../../base/logger.ts'
import { CertificateAuthority } from '../../security/index.ts'
import { PilotMetrics } from '../push/metrics.ts'
import { jsonPatch, type PatchOperation } from './json-patch.ts'
import type { InjectPod } from './review.ts'
import { serveWebhooks, type WebhookPort } from './server.ts'

const ca = await CertificateAuthority.createSelfSigned({ trustDomain: 'test', keyType: 'ECDSA' })
const certificate = await ca.issueServerCertificate(['istiod.istio-system.svc'], undefined, 'ECDSA')

/** Adds a container to pods that are to be injected; refuses those named `bad`. */
const inject: InjectPod = (pod) => {
  if (pod.metadata.name === 'bad') throw new Error('must not run')
  if (pod.metadata.labels?.skip) return undefined
  const { containers } = pod.spec as { containers: object[] }
  return {
    ...pod,
    metadata: { ...pod.metadata, annotations: { 'sidecar.istio.io/status': '{}' } },
    spec: { containers: [...containers, { name: 'istio-proxy' }] },
  }
}

let port: WebhookPort
before(async () => {
  const log = createLogger('test', 'off')
  port = await serveWebhooks({ address: '127.0.0.1:0', certificate, inject, log, metrics: new PilotMetrics() })
})
after(() => port.close())

interface Answer {
  readonly status: number
  readonly text: string
}

/** A call as the API server makes it: TLS, checked against the CA bundle of the webhook's configuration. */
function call(path: string, body: string, contentType = 'application/json'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port: port.address.split(':')[1],
        path,
        method: 'POST',
        ca: ca.rootPem,
        servername: 'istiod.istio-system.svc',
        headers: { 'content-type': contentType },
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode!, text }))
      },
    )
    call.on('error', reject)
    call.end(body)
  })
}

const review = (object: unknown, operation = 'CREATE', version = 'v1'): string =>
  JSON.stringify({
    apiVersion: `admission.k8s.io/${version}`,
    kind: 'AdmissionReview',
    request: { uid: 'u-1', operation, namespace: 'default', object },
  })

async function answered(path: string, body: string) {
  const { status, text } = await call(path, body)
  assert.equal(status, 200, text)
  return JSON.parse(text) as {
    apiVersion: string
    kind: string
    response: {
      uid: string
      allowed: boolean
      status?: { message: string }
      warnings?: string[]
      patch?: string
      patchType?: string
    }
  }
}

const virtualService = (spec: object) => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  metadata: { name: 'v', namespace: 'default' },
  spec,
})
const ROUTE = { route: [{ destination: { host: 'a' } }] }

test('a resource that istiod would refuse is denied, with the field', async () => {
  const { apiVersion, kind, response } = await answered(
    '/validate',
    review(virtualService({ hosts: ['a'], http: [{}] })),
  )
  assert.equal(apiVersion, 'admission.k8s.io/v1')
  assert.equal(kind, 'AdmissionReview')
  assert.equal(response.uid, 'u-1')
  assert.equal(response.allowed, false)
  assert.match(response.status!.message, /^configuration is invalid: spec\.http\[0\]/)
})

test('a good resource is allowed, what is doubtful comes as warnings, and the version asked in is answered in', async () => {
  const good = await answered('/validate', review(virtualService({ hosts: ['a'], http: [ROUTE] }), 'CREATE', 'v1beta1'))
  assert.deepEqual(good, {
    apiVersion: 'admission.k8s.io/v1beta1',
    kind: 'AdmissionReview',
    response: { uid: 'u-1', allowed: true },
  })
  const doubtful = await answered('/validate', review(virtualService({ hosts: ['a'], http: [ROUTE, ROUTE] }), 'UPDATE'))
  assert.equal(doubtful.response.allowed, true)
  assert.ok(doubtful.response.warnings!.length > 0)
})

test('a deletion is allowed unseen, an unknown kind denied', async () => {
  assert.equal((await answered('/validate', review(null, 'DELETE'))).response.allowed, true)
  const { response } = await answered(
    '/validate',
    review({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' } }),
  )
  assert.match(response.status!.message, /^unrecognized type v1, Kind=Secret/)
})

test('a pod is patched into the injected pod; one that must not run is denied', async () => {
  const pod = (metadata: object) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: { containers: [{ name: 'app' }] },
  })
  const { response } = await answered('/inject', review(pod({ generateName: 'app-', name: 'app' })))
  assert.equal(response.patchType, 'JSONPatch')
  const patch = JSON.parse(Buffer.from(response.patch!, 'base64').toString()) as PatchOperation[]
  assert.deepEqual(patch, [
    { op: 'add', path: '/metadata/annotations', value: { 'sidecar.istio.io/status': '{}' } },
    { op: 'add', path: '/spec/containers/-', value: { name: 'istio-proxy' } },
  ])
  const skipped = await answered('/inject/cluster/c/net/n', review(pod({ name: 'app', labels: { skip: 'yes' } })))
  assert.deepEqual(skipped.response, { uid: 'u-1', allowed: true })
  const refused = await answered('/inject', review(pod({ name: 'bad' })))
  assert.equal(refused.response.status?.message, 'default/bad: must not run')
})

test('what is no review is answered with what is wrong with it', async () => {
  const cases: [path: string, body: string, type: string, status: number][] = [
    ['/validate', '', 'application/json', 400],
    ['/validate', '{', 'application/json', 400],
    ['/validate', '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', 'application/json', 400],
    ['/inject', '[]', 'application/json', 400],
    ['/validate', '{}', 'text/plain', 415],
    ['/other', '{}', 'application/json', 404],
  ]
  for (const [path, body, type, status] of cases) {
    assert.equal((await call(path, body, type)).status, status, `${path} ${body}`)
  }
})

test('another certificate is served to the next connection', async () => {
  port.renew(await ca.issueServerCertificate(['istiod.istio-system.svc'], undefined, 'ECDSA'))
  assert.equal((await call('/validate', review(null, 'DELETE'))).status, 200)
})

test('a patch names changed, new and removed fields, and escapes their names', () => {
  assert.deepEqual(
    jsonPatch({ a: 1, b: { 'x/y~z': 1 }, c: [1, 2], d: 1 }, { a: 1, b: { 'x/y~z': 2 }, c: [2], e: null }),
    [
      { op: 'remove', path: '/d' },
      { op: 'replace', path: '/b/x~1y~0z', value: 2 },
      { op: 'replace', path: '/c', value: [2] },
      { op: 'add', path: '/e', value: null },
    ],
  )
})

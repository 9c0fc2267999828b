// The mesh that the tasks share, and how a task talks to it.
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { TestCa, type TestCertificate } from '../../src/proxy/network/testing.ts'
import { createMesh, type Mesh, type Output, until } from '../system/mesh.ts'

const IMAGES = `images:
  test/sleep: { command: [node, programs.mjs, sleep] }
  test/echo: { command: [node, programs.mjs, echo] }
  test/authorizer: { command: [node, programs.mjs, authorizer] }
  test/external: { command: [node, programs.mjs, external] }
`

/** The last step of an exchange as curl saw it. */
export interface Answer {
  /** 0: no HTTP answer at all. */
  readonly status: number
  readonly body: string
  /** curl's exit code: 0, 35 for a failed handshake, 52 or 56 for a connection that was closed. */
  readonly exit: number
}

export class Tasks {
  readonly mesh: Mesh
  readonly ca: TestCa
  /** An authority that nobody trusts. */
  readonly otherCa: TestCa
  private files = 0

  constructor(mesh: Mesh, ca: TestCa, otherCa: TestCa) {
    this.mesh = mesh
    this.ca = ca
    this.otherCa = otherCa
  }

  /** Starts the mesh; `cleanup` runs what must be undone at the end. `keySet` is what the external host serves on /jwks. */
  static async start(
    cleanup: { after(fn: () => void): void },
    proxy: 'outrigger' | 'envoy',
    keySet: string,
  ): Promise<Tasks> {
    const mesh = await createMesh(() => '')
    cleanup.after(() => mesh.close())
    for (const name of ['bookinfo.yaml', 'bookinfo-gateway.yaml']) mesh.remove(name)
    const ca = new TestCa(cleanup)
    writeApplications(mesh, ca, keySet)
    const { status, stderr } = mesh.up('--detach', '--proxy', proxy)
    if (status !== 0) throw new Error(stderr)
    return new Tasks(mesh, ca, new TestCa(cleanup))
  }

  /** Applies the manifest, runs `task`, removes it again. `quiet` warnings are expected. */
  async with(yaml: string, task: () => void | Promise<void>): Promise<void> {
    const file = join(this.mesh.home, `task-${this.files++}.yml`)
    writeFileSync(file, yaml)
    this.mesh.ok('apply', '-f', file)
    try {
      await task()
    } finally {
      this.mesh.ok('delete', '-f', file)
    }
  }

  /** Mesh settings for a while, beside those of the demo profile. */
  withMesh(settings: string, task: () => void | Promise<void>): Promise<void> {
    const mesh = `accessLogFile: /dev/stdout\ndefaultProviders: {metrics: [prometheus]}\n${settings}`
    return this.with(
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: ${JSON.stringify(mesh)}\n`,
      task,
    )
  }

  /** A command in a pod; `client` is in the mesh, `legacy/legacy` is not. */
  exec(pod: string, ...command: string[]): Output {
    const [namespace, name] = pod.includes('/') ? pod.split('/') : ['default', pod]
    return this.mesh.run('exec', '-n', namespace!, name!, '--', ...command)
  }

  curl(pod: string, ...args: string[]): Answer {
    const { status, stdout } = this.exec(pod, 'curl', '-s', '--max-time', '5', '-w', '\n%{http_code}', ...args)
    const at = stdout.lastIndexOf('\n')
    return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at), exit: status ?? -1 }
  }

  /** The HTTP statuses of requests, one after the other. */
  each(pod: string, requests: readonly (readonly string[])[]): number[] {
    const lines = requests.map((args) => {
      const words = args.map((word) => `'${word}'`).join(' ')
      return `curl -s --max-time 5 -o /dev/null -w '%{http_code}\\n' ${words}`
    })
    return this.exec(pod, 'sh', '-c', `${lines.join('; ')}; true`)
      .stdout.trim()
      .split('\n')
      .map(Number)
  }

  /** Waits until every request to a service of two pods has this status: each proxy has its configuration. */
  async becomes(status: number, pod: string, ...args: string[]): Promise<void> {
    const requests = Array.from({ length: 8 }, () => args)
    await until(`${status} for ${args.join(' ')}`, () => this.each(pod, requests).every((one) => one === status))
  }

  /** How often each version of httpbin answered. */
  versions(pod: string, count: number, ...args: string[]): Record<string, number> {
    const words = args.map((word) => `'${word}'`).join(' ')
    const loop = `for i in $(seq ${count}); do curl -s --max-time 5 ${words}; echo; done`
    return counted(this.exec(pod, 'sh', '-c', loop).stdout, /"version":"(v\d)"/g)
  }

  /** What the TCP service says to `text`; empty when the connection was refused or closed. */
  tcp(pod: string, address: string, text = 'hello', times = 1): string {
    const [host, port] = address.split(':')
    const one = `(exec 3<>/dev/tcp/${host}/${port} && echo ${text} >&3 && timeout 3 head -1 <&3) 2>/dev/null`
    return this.exec(pod, 'bash', '-c', `for i in $(seq ${times}); do ${one}; done; true`).stdout
  }

  logs(pod: string, container: string): string {
    const [namespace, name] = pod.includes('/') ? pod.split('/') : ['default', pod]
    return this.mesh.ok('logs', '-n', namespace!, name!, '-c', container)
  }

  podIp(pod: string): string {
    const [namespace, name] = pod.includes('/') ? pod.split('/') : ['default', pod]
    const object = JSON.parse(this.mesh.ok('get', 'pod', name!, '-n', namespace!, '-o', 'json'))
    return object.status.podIP
  }

  /** Writes PEM files where pods can read them; returns their path there. */
  file(name: string, text: string): string {
    writeFileSync(join(this.mesh.dir, 'certs', name), text, { mode: 0o644 })
    return `certs/${name}`
  }

  /** A generic Secret of a key pair, and of an authority and revocations when given. */
  secret(name: string, pair: TestCertificate | null, more: Record<string, string> = {}, namespace = 'istio-system') {
    const data = { ...(pair ? { 'tls.crt': pair.cert, 'tls.key': pair.key } : {}), ...more }
    return `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: ${namespace}}\nstringData: ${JSON.stringify(data)}\n`
  }
}

/** Puts the programs and what they serve into the mesh's folder. */
export function writeApplications(mesh: Mesh, ca: TestCa, keySet: string): void {
  for (const name of ['programs.mjs', 'workloads.yaml']) cpSync(new URL(name, import.meta.url), join(mesh.dir, name))
  mesh.save('images.yaml', IMAGES)
  mkdirSync(join(mesh.dir, 'certs'), { recursive: true })
  const { cert, key } = ca.issue('DNS:external.example.com')
  const files = { 'ca.pem': ca.cert, 'external.pem': cert, 'external.key': key, 'jwks.json': keySet }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(mesh.dir, 'certs', name), text, { mode: 0o644 })
}

export { until }

export function counted(text: string, pattern: RegExp): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const [, what] of text.matchAll(pattern)) counts[what!] = (counts[what!] ?? 0) + 1
  return counts
}

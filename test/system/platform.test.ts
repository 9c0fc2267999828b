// The embedded cluster by itself: Bookinfo in plain text, no sidecars.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createMesh, leftovers, type Mesh, processesOf, skip, until } from './mesh.ts'

const plain = (text: string) => text.replace('istio-injection: enabled', 'istio-injection: disabled')

describe('a mesh without sidecars', { skip }, () => {
  let mesh: Mesh
  before(async () => {
    mesh = await createMesh(plain)
    const { status, stderr } = mesh.up('--detach')
    assert.equal(status, 0, stderr)
  })
  after(() => mesh.close())

  const inPod = (script: string) => mesh.ok('exec', mesh.pod('app=productpage'), '--', 'sh', '-c', script)

  test('pods run under users of their own in networks of their own', () => {
    const shown = inPod('cat /proc/1/status; ls /proc')
    const uid = /^Uid:\s+(\d+)/m.exec(shown)![1]!
    assert.ok(Number(uid) >= 20_000, uid)
    assert.match(inPod('ip -4 addr show eth0 2>/dev/null || cat /proc/net/fib_trie'), /10\.244\.\d+\.\d+/)
  })

  test('names resolve by search list, in full and not at all', () => {
    assert.match(inPod('getent hosts reviews'), /^10\.96\.\d+\.\d+\s+reviews\.default\.svc\.cluster\.local/)
    assert.match(inPod('getent hosts istiod.istio-system'), /^10\.96\./)
    assert.equal(inPod('getent hosts nobody || echo none').trim(), 'none')
  })

  test('a service address spreads over all ready pods', () => {
    const answers = inPod('for i in $(seq 40); do curl -s http://reviews:9080/reviews/0; echo; done')
    for (const version of ['v1', 'v2', 'v3']) assert.match(answers, new RegExp(`"version":"${version}"`))
  })

  test('a pod reaches itself through its service', () => {
    assert.match(inPod('curl -s --max-time 3 http://productpage:9080/health'), /healthy/)
  })

  test('a service without ready endpoints refuses at once', async () => {
    mesh.save(
      'empty.yaml',
      'apiVersion: v1\nkind: Service\nmetadata: { name: empty }\nspec: { selector: { app: none }, ports: [{ port: 80 }] }\n',
    )
    const code = () => inPod('curl -s --max-time 3 http://empty/; echo code=$?').trim()
    await until('refusal', () => code() === 'code=7')
  })

  test('scaling changes the endpoints', async () => {
    const addresses = () => mesh.ok('get', 'endpoints', 'details').match(/10\.244\.\d+\.\d+:9080/g)?.length
    mesh.ok('scale', 'deployment', 'details-v1', '--replicas', '2')
    await until('two endpoints', () => addresses() === 2)
    mesh.ok('scale', 'deployment', 'details-v1', '--replicas', '1')
    await until('one endpoint', () => addresses() === 1)
  })

  test('a changed template replaces the pods one by one', async () => {
    const before = mesh.pod('app=ratings')
    mesh.ok('label', 'deployment', 'ratings-v1', 'touched=yes')
    assert.equal(mesh.pod('app=ratings'), before)
    const deployment = JSON.parse(mesh.ok('get', 'deployment', 'ratings-v1', '-o', 'json'))
    deployment.spec.template.metadata.annotations = { restarted: 'yes' }
    mesh.save('ratings.json', JSON.stringify(deployment))
    await until('another pod', () => {
      const names = mesh.ok('get', 'pods', '-l', 'app=ratings', '-o', 'name').trim().split('\n')
      return names.length === 1 && !names[0]!.endsWith(before)
    })
  })

  test('a program that ends is restarted, and its log kept', async () => {
    const pod = mesh.pod('app=details')
    // The shell that sends the signal dies with its container, sooner or later: its own end says nothing.
    mesh.run('exec', pod, '--', 'sh', '-c', 'kill -TERM 1')
    await until('a restart', () => / 1 +/.test(mesh.ok('get', 'pod', pod)) && /1\/1/.test(mesh.ok('get', 'pod', pod)))
    assert.match(mesh.ok('logs', pod, '--previous'), /details listens on 9080/)
  })

  test('an unknown image is said in the status', async () => {
    mesh.save(
      'redis.yaml',
      'apiVersion: v1\nkind: Pod\nmetadata: { name: redis }\nspec: { containers: [{ name: redis, image: "redis:7" }] }\n',
    )
    await until('status', () =>
      /ErrImageNeverPull.*image "redis:7" is not known/.test(mesh.ok('get', 'pods', '-o', 'wide')),
    )
    mesh.remove('redis.yaml')
    await until('removal', () => !/redis/.test(mesh.ok('get', 'pods')))
  })

  for (const [what, text, message] of [
    ['invalid YAML', 'kind: [Pod\n', /^error: .*bad\.yaml:\d+: invalid YAML/],
    [
      'an unknown kind',
      'apiVersion: v1\nkind: Gadget\nmetadata: { name: g }\n',
      /^error: .*bad\.yaml:2: .*unknown kind "Gadget"/,
    ],
    [
      'an unknown field',
      'apiVersion: v1\nkind: Service\nmetadata: { name: ratings }\nspec: { port: [] }\n',
      /^error: .*bad\.yaml:4: .*spec\.port: unknown field/,
    ],
  ] as const) {
    test(`${what} is one line with file and line, and changes nothing`, () => {
      const objects = mesh.ok('get', 'svc', '-A', '-o', 'json')
      const bad = join(mesh.home, 'bad.yaml')
      spawnSync('tee', [bad], { input: text })
      const { status, stderr } = mesh.run('apply', '-f', bad)
      assert.equal(status, 1)
      assert.match(stderr, message)
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
      assert.equal(mesh.ok('get', 'svc', '-A', '-o', 'json'), objects)
    })
  }

  test('a second up reconciles', async () => {
    mesh.ok('delete', 'service', 'ratings')
    const { status, stdout, stderr } = mesh.up('--detach')
    assert.equal(status, 0, stderr)
    assert.match(stdout, /service\/ratings created/)
  })

  test('the host keeps its network', () => {
    assert.deepEqual(leftovers(mesh.home, []), [])
  })
})

describe('the end of a mesh', { skip }, () => {
  for (const [how, end] of [
    ['down', (mesh: Mesh) => void mesh.ok('down')],
    ['kill -9 of the supervisor', (mesh: Mesh) => void process.kill(mesh.record().pid, 'SIGKILL')],
    ['kill -9 of the node', (mesh: Mesh) => void process.kill(mesh.record().nodePid, 'SIGKILL')],
  ] as const) {
    test(`${how} leaves nothing behind`, async () => {
      const mesh = await createMesh(plain)
      try {
        const started = mesh.up('--detach')
        assert.equal(started.status, 0, started.stderr)
        const pids = processesOf(mesh)
        assert.ok(pids.length > 10, String(pids))
        end(mesh)
        await until('nothing left', () => leftovers(mesh.home, pids).length === 0)
        assert.match(mesh.run('status').stdout, /no mesh is running/)
      } finally {
        mesh.close()
      }
    })
  }
})

describe('a mesh that cannot start', { skip }, () => {
  let mesh: Mesh
  before(async () => {
    mesh = await createMesh(plain)
  })
  after(() => mesh.close())

  const oneLine = ({ status, stderr }: { status: number | null; stderr: string }, message: RegExp) => {
    assert.equal(status, 1)
    assert.match(stderr, message)
    assert.equal(stderr.trim().split('\n').length, 1, stderr)
  }

  test('a taken port is named', async () => {
    const port = Number(new URL(mesh.gateway).port)
    const server = await new Promise<Server>((resolve) => {
      const taken = createServer().listen(port, '127.0.0.1', () => resolve(taken))
    })
    oneLine(mesh.up('--detach'), new RegExp(`^error: 127\\.0\\.0\\.1:${port} is taken by another program`))
    await new Promise((resolve) => server.close(resolve))
  })

  test('an ordinary user is told what to do', () => {
    const home = join(tmpdir(), `og-user-${process.pid}`)
    mkdirSync(home, { mode: 0o777 })
    const entry = new URL('../../bin/outrigger.js', import.meta.url).pathname
    const user = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
    const result = spawnSync('setpriv', [...user, process.execPath, entry, 'up', mesh.dir], {
      encoding: 'utf8',
      env: { ...process.env, OUTRIGGER_HOME: join(home, 'none'), HOME: home },
    })
    rmSync(home, { recursive: true })
    // Where the checkout is not readable for that user, Node itself cannot start.
    if (!/EACCES|Cannot find module/.test(result.stderr))
      oneLine(result, /^error: outrigger up needs root.*sudo outrigger up/)
  })

  test('a folder without manifests is named', () => {
    oneLine(mesh.run('up', '/nonexistent'), /^error: \/nonexistent: no such file or directory/)
    oneLine(mesh.run('up', join(mesh.dir, 'src')), /no \.yaml, \.yml or \.json file/)
  })
})

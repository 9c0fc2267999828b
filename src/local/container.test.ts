import assert from 'node:assert/strict'
import { afterEach, mock, test } from 'node:test'
import { type ContainerHost, ImageError, RunningContainer } from './container.ts'
import type { ContainerExit, ContainerProcess } from './container-process.ts'

class FakeProcess {
  readonly startedAt = new Date()
  readonly env = {}
  readonly pid = 7
  readonly signals: string[] = []
  exit: (exit: ContainerExit) => void = () => {}
  readonly exited = new Promise<ContainerExit>((resolve) => (this.exit = resolve))
  kill(signal: string): void {
    this.signals.push(signal)
    if (signal === 'SIGKILL') this.exit({ exitCode: 137 })
  }
}

afterEach(() => mock.timers.reset())

function host(restartPolicy: ContainerHost['restartPolicy'] = 'Always') {
  const processes: FakeProcess[] = []
  const events: string[] = []
  let failure: Error | undefined
  const container = new RunningContainer(
    { name: 'c', image: 'i' },
    {
      restartPolicy,
      startContainer: async () => {
        if (failure) throw failure
        const process = new FakeProcess()
        processes.push(process)
        return process as unknown as ContainerProcess
      },
      probeTarget: (spec) => ({ podIp: '127.0.0.1', container: spec, exec: async () => {} }),
      changed: () => {},
      event: (message) => events.push(message),
    },
    false,
  )
  return { container, processes, events, fail: (error: Error | undefined) => (failure = error) }
}

/** Lets promise callbacks run while timers are mocked. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

test('a container without probes is ready when it runs', async () => {
  const { container } = host()
  await container.start()
  assert.equal(container.status.ready, true)
  assert.ok(container.status.state.running)
})

test('the first restart comes at once, the next after a back-off that doubles', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const { container, processes } = host()
  await container.start()
  processes[0]!.exit({ exitCode: 1 })
  await settle()
  assert.equal(processes.length, 2)
  assert.equal(container.status.restartCount, 1)
  processes[1]!.exit({ exitCode: 1 })
  await settle()
  assert.equal(container.status.state.waiting?.reason, 'CrashLoopBackOff')
  assert.equal(container.status.lastState.terminated?.exitCode, 1)
  mock.timers.tick(9_999)
  await settle()
  assert.equal(processes.length, 2)
  mock.timers.tick(1)
  await settle()
  assert.equal(processes.length, 3)
  processes[2]!.exit({ exitCode: 1 })
  await settle()
  assert.match(container.status.state.waiting!.message!, /back-off 20s/)
})

test('OnFailure lets a success be, Never also a failure', async () => {
  for (const [policy, exitCode] of [
    ['OnFailure', 0],
    ['Never', 1],
  ] as const) {
    const { container, processes } = host(policy)
    await container.start()
    processes[0]!.exit({ exitCode })
    await settle()
    assert.equal(container.status.state.terminated?.exitCode, exitCode)
    assert.equal(processes.length, 1)
  }
})

test('an unknown image is the status, and is tried again', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const { container, events, fail } = host()
  fail(new ImageError('image "x" is not known here'))
  await container.start()
  assert.deepEqual(container.status.state.waiting, {
    reason: 'ErrImageNeverPull',
    message: 'image "x" is not known here',
  })
  assert.match(events[0]!, /ErrImageNeverPull/)
  fail(undefined)
  mock.timers.tick(2_000)
  await settle()
  assert.ok(container.status.state.running)
  assert.equal(container.status.restartCount, 0)
})

test('stopping asks first and takes down after the grace period', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const { container, processes } = host()
  await container.start()
  const stopped = container.stop(5_000)
  assert.deepEqual(processes[0]!.signals, ['SIGTERM'])
  mock.timers.tick(5_000)
  await stopped
  assert.deepEqual(processes[0]!.signals, ['SIGTERM', 'SIGKILL'])
  await settle()
  assert.equal(processes.length, 1)
})

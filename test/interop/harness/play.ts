// Plays the client's part of a scenario, byte for byte, and notes what comes back.

import { connect } from 'node:net'
import { DELAYED_CLOSE_MS, type Situation } from './situations.ts'

/** One situation and what its client sends. */
export interface Scenario extends Situation {
  /** Bytes of the client, sent one after another as the answers to the ones before stop coming. */
  readonly client: readonly string[]
  /** Silence after which the next bytes are sent, or the exchange is over. */
  readonly quietMs?: number
  /** By how much an answer may be shorter than the other proxy's: compressed bodies are. */
  readonly slackBytes?: number
}

export interface Outcome {
  readonly received: string
  readonly closed: boolean
  /** Bytes that had come after each of the client's writes. */
  readonly marks: readonly number[]
}

/** After the client's last bytes: Envoy holds a connection that it is done with for a moment before it closes it. */
const LAST_QUIET_MS = Math.max(400, 2 * DELAYED_CLOSE_MS)
/** How long silence is doubted that the counters do not explain. */
const DOUBT_MS = 10_000
/**
 * When as much has come as had come from the other proxy: time for more than that. Not less than the scenario's own
 * silence, in which something may happen that is only counted.
 */
const EXTRA_MS = 100
/** How long what the other proxy did may take. */
const MODEL_MS = 15_000
/** The proxy has said that it will close. */
const LAST_ANSWER = /^connection: close\r$/im
/** The same answer may differ by the digits of a duration. */
const SLACK_BYTES = 4

/** Bytes so far. */
export interface Traffic {
  readonly sent: number
  readonly received: number
}

/**
 * Sends the client's bytes one after another. Without `model` each write waits for silence that `idle` believes; with it,
 * until as much has come as had come from the other proxy. A busy machine makes the test slow and not wrong.
 */
export async function play(
  port: number,
  scenario: Scenario,
  model: Outcome | null,
  idle: (traffic: Traffic) => Promise<boolean> = () => Promise.resolve(true),
): Promise<Outcome> {
  const { client, quietMs = 300, slackBytes = SLACK_BYTES } = scenario
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const chunks: Buffer[] = []
  let bytes = 0
  let closed = false
  let notify = (): void => {}
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    bytes += chunk.length
    notify()
  })
  const end = (): void => {
    closed = true
    notify()
  }
  socket.on('end', end)
  socket.on('error', end)
  /** Resolves when `enough()` or after `ms` without an event. */
  const settle = (ms: number, enough: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const check = (): void => {
        clearTimeout(timer)
        if (closed || enough()) resolve()
        else timer = setTimeout(resolve, ms)
      }
      notify = check
      check()
    })
  let sent = 0
  const silence = async (ms: number): Promise<void> => {
    const until = Date.now() + DOUBT_MS
    for (;;) {
      await settle(ms, () => false)
      const before = bytes
      if (closed || Date.now() > until) return
      if ((await idle({ sent, received: bytes })) && bytes === before) return
    }
  }
  const marks: number[] = []
  for (const [i, text] of client.entries()) {
    if (closed) break
    if (text === 'END') socket.end()
    else {
      socket.write(text, 'latin1')
      sent += text.length
    }
    // What this write is to bring, as it did from the other proxy.
    const wanted = model && (marks[i - 1] ?? 0) + model.marks[i]! - (model.marks[i - 1] ?? 0)
    if (wanted === null) await silence(i < client.length - 1 ? quietMs : Math.max(quietMs, LAST_QUIET_MS))
    else await settle(MODEL_MS, () => bytes >= wanted - slackBytes)
    marks.push(bytes)
  }
  if (model !== null) await settle(model.closed ? MODEL_MS : Math.max(EXTRA_MS, scenario.quietMs ?? 0), () => false)
  else if (LAST_ANSWER.test(Buffer.concat(chunks).toString('latin1'))) await settle(MODEL_MS, () => false)
  notify = () => {}
  socket.destroy()
  const received = Buffer.concat(chunks)
    .toString('latin1')
    .replace(/date: .*/gi, 'date: NOW')
    .replace(/(x-envoy-upstream-service-time): \d+/gi, '$1: N')
  return { received, closed, marks }
}

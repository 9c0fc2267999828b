import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { Loggers } from './loggers.ts'

test('a logger has a level of its own; all are set together by no name', () => {
  const lines: string[] = []
  const loggers = new Loggers(pino({ level: 'warn' }, { write: (line: string) => lines.push(line) }))
  assert.equal(loggers.levels().get('http2'), 'warning')
  assert.equal(loggers.set('upstream', 'debug'), true)
  loggers.of('upstream').debug('one')
  loggers.of('config').debug('two')
  assert.equal(loggers.set(null, 'trace'), true)
  loggers.of('config').trace('three')
  assert.equal(loggers.set(null, 'off'), true)
  loggers.of('upstream').fatal('four')
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ['one', 'three'],
  )
  assert.equal(loggers.levels().get('upstream'), 'off')
  assert.equal(loggers.set('none', 'debug'), false)
  assert.equal(loggers.set('http', 'loud'), false)
})

test('a level set before a logger first speaks holds for it', () => {
  const lines: string[] = []
  const loggers = new Loggers(pino({ level: 'warn' }, { write: (line: string) => lines.push(line) }))
  loggers.set('secret', 'debug')
  loggers.of('secret').debug('said')
  assert.equal(lines.length, 1)
})

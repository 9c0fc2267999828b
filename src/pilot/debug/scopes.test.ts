import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { LogScopes } from '../../base/log-scopes.ts'
import { serveScopes } from './scopes.ts'

test('a scope is listed, and its level set while others keep theirs', async () => {
  const lines: string[] = []
  const root = pino({ level: 'info' }, { write: (line: string) => lines.push(line) })
  const scopes = new LogScopes(root)
  const ads = scopes.register('ads', 'ads debugging')
  const other = scopes.register('default', 'Unscoped logging messages.')
  const port = await serveScopes('127.0.0.1:0', scopes)
  const url = `http://${port.address}/scopej`
  try {
    const entry = (name: string, description: string, output_level: string) => ({
      name,
      description,
      output_level,
      stack_trace_level: 'none',
      log_callers: false,
    })
    assert.deepEqual(await (await fetch(url)).json(), [
      entry('ads', 'ads debugging', 'info'),
      entry('default', 'Unscoped logging messages.', 'info'),
    ])
    const put = (name: string, body: string) => fetch(`${url}/${name}`, { method: 'PUT', body })
    assert.equal((await put('ads', '{"output_level":"debug"}')).status, 202)
    assert.deepEqual(await (await fetch(`${url}/ads`)).json(), entry('ads', 'ads debugging', 'debug'))
    ads.debug('seen')
    other.debug('hidden')
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
      ['seen'],
    )
    assert.equal((await put('ads', '{"output_level":"loud"}')).status, 400)
    assert.equal((await put('ads', '{')).status, 400)
    assert.equal((await put('none', '{"output_level":"debug"}')).status, 400)
    assert.equal((await fetch(`${url}/none`)).status, 400)
  } finally {
    await port.close()
  }
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LogContext } from '../access-log.ts'
import { JsonFormat, type JsonTemplate } from './json-format.ts'
import { LineBuffer } from './line-buffer.ts'

const context = { info: {}, requestHeaders: null, responseHeaders: null, localReplyBody: '' } as unknown as LogContext

function render(template: { readonly [key: string]: JsonTemplate }, omitEmpty: boolean): string {
  return new JsonFormat(template, omitEmpty, 'json_format').format(context)
}

test('an absent value is null, or its key goes, wherever it stands', () => {
  const absent = '%REQ(X-ABSENT)%'
  const template = { a: absent, b: { c: absent, d: [absent, 1, absent, 'x'], e: absent }, f: absent }
  assert.equal(render(template, false), '{"a":null,"b":{"c":null,"d":[null,1,null,"x"],"e":null},"f":null}\n')
  assert.equal(render(template, true), '{"b":{"d":[1,"x"]}}\n')
  assert.equal(render({ a: absent, b: { c: absent }, d: [absent] }, true), '{"d":[]}\n')
  assert.equal(render({}, true), '{}\n')
})

test('strings and numbers are written as JSON.stringify writes them, beyond the first size too', () => {
  const out = new LineBuffer(1)
  const texts = ['', 'plain', 'quote " and \\', 'tab\t', '\u0000', '\xc3\xa9', 'x'.repeat(300), `${'y'.repeat(200)}\n`]
  const numbers = [0, 7, 10, 99, 100, 200, 4294967295, 2147483647, 2147483648, -1, 1.5, 1e21, 999999999, 1000000000]
  for (const text of texts) out.putQuoted(text)
  for (const number of numbers) out.putNumber(number)
  out.put('z'.repeat(100))
  const expected = texts.map((text) => JSON.stringify(text)).join('') + numbers.join('') + 'z'.repeat(100)
  assert.equal(out.bytes.toString('latin1', 0, out.length), expected)
})

test('a value that is kept as bytes gives way to the next one', () => {
  const format = new JsonFormat({ a: '%LOCAL_REPLY_BODY%' }, false, 'json_format')
  const bodies = [...Array<string>(20).fill('a"b'), 'c', ...Array<string>(20).fill('x'.repeat(300)), 'a"b', '']
  for (const localReplyBody of bodies)
    assert.deepEqual(JSON.parse(format.format({ ...context, localReplyBody })), { a: localReplyBody })
})

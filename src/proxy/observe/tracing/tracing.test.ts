import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { HeaderMap } from '../../http/header-map.ts'
import { extractB3, extractW3c, injectB3, injectW3c } from './trace-context.ts'

function headers(fields: Readonly<Record<string, string>>): HeaderMap {
  const map = new HeaderMap()
  for (const [name, value] of Object.entries(fields)) map.add(name, value)
  return map
}

const TRACE = '463ac35c9f6413ad48485a3953bb6124'
const SPAN = 'a2fb4a1d1a96d312'
const PARENT = '0020000000000001'

describe('trace context', () => {
  it('W3C: a well-formed traceparent is read with its tracestate', () => {
    const map = headers({ traceparent: `00-${TRACE}-${SPAN}-01`, tracestate: 'a=b' })
    assert.deepEqual(extractW3c(map), { traceId: TRACE, spanId: SPAN, parentId: '', sampled: true, traceState: 'a=b' })
  })

  it('W3C: absent is not the same as broken', () => {
    assert.equal(extractW3c(headers({})), undefined)
    for (const text of ['', '00-1-2-3', `00-${TRACE.toUpperCase()}-${SPAN}-01`, `00-${'0'.repeat(32)}-${SPAN}-01`])
      assert.equal(extractW3c(headers({ traceparent: text })), null, text)
  })

  it('W3C: short ids are filled up', () => {
    const map = headers({ traceparent: 'old' })
    injectW3c(map, SPAN, SPAN, false)
    assert.deepEqual(map.list, ['traceparent', `00-${'0'.repeat(16)}${SPAN}-${SPAN}-00`])
  })

  it('B3: several headers', () => {
    const map = headers({
      'x-b3-traceid': TRACE,
      'x-b3-spanid': SPAN,
      'x-b3-parentspanid': PARENT,
      'x-b3-sampled': '1',
    })
    assert.deepEqual(extractB3(map), {
      sampled: true,
      context: { traceId: TRACE, spanId: SPAN, parentId: PARENT, sampled: true, traceState: '' },
    })
  })

  it('B3: one header, in all its lengths', () => {
    assert.deepEqual(extractB3(headers({ b3: '0' })), { sampled: false, context: undefined })
    assert.deepEqual(extractB3(headers({ b3: 'd' })), { sampled: true, context: undefined })
    assert.equal(extractB3(headers({ b3: `${TRACE}-${SPAN}` })).sampled, null)
    assert.equal(extractB3(headers({ b3: `${TRACE}-${SPAN}-1-${PARENT}` })).context?.parentId, PARENT)
    assert.equal(extractB3(headers({ b3: 'zz-yy' })).context, null)
  })

  it('B3: is written in the form in which it came', () => {
    const single = headers({ b3: `${TRACE}-${SPAN}-1` })
    injectB3(single, TRACE, PARENT, SPAN, true)
    assert.deepEqual(single.list, ['b3', `${TRACE}-${PARENT}-1-${SPAN}`])
    const several = headers({})
    injectB3(several, TRACE, SPAN, '', false)
    assert.deepEqual(several.list, ['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-sampled', '0'])
  })
})

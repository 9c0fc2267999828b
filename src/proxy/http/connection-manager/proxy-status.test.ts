import assert from 'node:assert/strict'
import { test } from 'node:test'
import { streamInfo } from '../../route/testing.ts'
import type { ResponseFlagName } from '../../stream-info.ts'
import { HeaderMap } from '../header-map.ts'
import type { ProxyStatusConfig } from './config.ts'
import { addProxyStatus } from './proxy-status.ts'

const CONFIG: ProxyStatusConfig = {
  name: 'envoy',
  details: true,
  connectionTerminationDetails: true,
  responseFlags: true,
  setRecommendedResponseCode: false,
}

function told(flags: readonly ResponseFlagName[], more: Partial<ProxyStatusConfig> = {}, before?: string): HeaderMap {
  const info = streamInfo()
  for (const flag of flags) info.setFlag(flag)
  info.responseCodeDetails = 'details'
  const headers = new HeaderMap()
  headers.status = 500
  if (before !== undefined) headers.add('proxy-status', before)
  addProxyStatus(headers, info, flags.join(','), { ...CONFIG, ...more })
  return headers
}

test('what went wrong has a name, details and flags', () => {
  assert.equal(told(['UF', 'URX']).get('proxy-status'), 'envoy; error=connection_refused; details="details; UF,URX"')
  assert.equal(told(['NR'], { details: false }).get('proxy-status'), 'envoy; error=destination_not_found')
  assert.equal(told([]).get('proxy-status'), undefined)
  assert.equal(told(['DC']).get('proxy-status'), undefined)
})

test('it stands after what proxies before have said', () => {
  assert.match(told(['UH'], {}, 'other; error=x').get('proxy-status')!, /^other; error=x, envoy; /)
})

test('the status may be the recommended one', () => {
  assert.equal(told(['UT'], { setRecommendedResponseCode: true }).status, 504)
  assert.equal(told(['DPE'], { setRecommendedResponseCode: true }).status, 500)
})

import assert from 'node:assert/strict'
import { BlockList } from 'node:net'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { cidrContains, parseCidr, parseIp } from './cidr.ts'

describe('CIDR ranges', () => {
  it('refuses what is no address or too long a prefix', () => {
    assert.equal(parseIp('10.0.0'), null)
    assert.equal(parseCidr('10.0.0.0', 33), null)
    assert.equal(parseCidr('host', 8), null)
  })
  it('reads a v4-mapped address as v4', () => {
    assert.deepEqual(parseIp('::ffff:10.1.2.3'), parseIp('10.1.2.3'))
  })
  it('agrees with node:net BlockList', () => {
    const check = (family: 'ipv4' | 'ipv6', a: string, b: string, length: number): void => {
      const list = new BlockList()
      list.addSubnet(a, length, family)
      const range = parseCidr(a, length)!
      assert.equal(cidrContains(range, parseIp(b)!), list.check(b, family), `${b} in ${a}/${length}`)
    }
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV4(), fc.integer({ min: 0, max: 32 }), (a, b, n) => check('ipv4', a, b, n)),
      { seed: 1, numRuns: 300 },
    )
    const v6 = fc
      .array(fc.constantFrom('0', '1', 'fe80', 'abcd'), { minLength: 8, maxLength: 8 })
      .map((g) => g.join(':'))
    fc.assert(
      fc.property(v6, v6, fc.integer({ min: 1, max: 128 }), (a, b, n) => check('ipv6', a, b, n)),
      { seed: 1, numRuns: 300 },
    )
  })
})

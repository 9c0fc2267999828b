import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { alternativeNames } from './alternative-names.ts'

// Texts are what Node 24 prints of certificates that OpenSSL has made.
describe('alternative names', () => {
  test('by kind, in order', () => {
    assert.deepEqual(alternativeNames('URI:spiffe://td/ns/a/sa/b, DNS:a.example, IP Address:10.0.0.1, email:a@b.c'), {
      all: ['spiffe://td/ns/a/sa/b', 'a.example', '10.0.0.1', 'a@b.c'],
      uri: ['spiffe://td/ns/a/sa/b'],
      dns: ['a.example'],
      ip: ['10.0.0.1'],
      email: ['a@b.c'],
    })
  })

  test('a quoted value is its text', () => {
    assert.deepEqual(alternativeNames(String.raw`DNS:"a\u002c URI:spiffe://td/ns/a/sa/dns\u002c b", DNS:c`).all, [
      'a, URI:spiffe://td/ns/a/sa/dns, b',
      'c',
    ])
  })

  test('no name of another kind becomes a URI', () => {
    const others = [
      String.raw`othername:"UPN:x\u002c URI:spiffe://td/ns/a/sa/evil\u002c y"`,
      'othername:"UPN:URI:spiffe://td/ns/a/sa/evil"',
      String.raw`DirName:"O=q\\\u002c URI:spiffe://td/ns/a/sa/evil\\\u002c z"`,
      'othername:<unsupported>',
      'Registered ID:1.2.3.4',
    ]
    for (const other of others)
      assert.deepEqual(
        alternativeNames(`${other}, URI:spiffe://td/ns/n/sa/real`).all,
        ['spiffe://td/ns/n/sa/real'],
        other,
      )
  })

  test('what cannot be read ends the list', () => {
    assert.deepEqual(alternativeNames('DNS:a, "x", URI:spiffe://td/ns/a/sa/b').all, ['a'])
    assert.deepEqual(alternativeNames(undefined).all, [])
    assert.deepEqual(alternativeNames('').all, [])
  })
})

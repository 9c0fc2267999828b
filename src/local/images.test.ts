import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ImageCatalogue, parseImages, withoutTag } from './images.ts'

test('an image without a tag stands for every tag', () => {
  const catalogue = new ImageCatalogue()
  catalogue.load(parseImages('/a/images.yaml', 'images:\n  reg:5000/shop/cart: { command: [node, cart.js] }\n'))
  assert.deepEqual(catalogue.find('reg:5000/shop/cart:1.2')?.command, ['node', 'cart.js'])
  assert.equal(catalogue.find('reg:5000/shop/cart:1.2')?.workingDir, '/a')
  assert.equal(catalogue.find('shop/cart'), undefined)
})

test('tags and digests are cut off, registry ports are not', () => {
  assert.equal(withoutTag('localhost:5000/a/b'), 'localhost:5000/a/b')
  assert.equal(withoutTag('a/b:1.0@sha256:abc'), 'a/b')
})

for (const [what, text, message] of [
  ['a missing command', 'images:\n  a: { args: [x] }\n', /f:2: image a needs "command"/],
  ['an unknown field', 'images:\n  a: { command: [x], comand: [y] }\n', /f:2: unknown field "comand"/],
  ['a number in env', 'images:\n  a:\n    command: [x]\n    env: { PORT: 1 }\n', /quote numbers/],
  ['no map', '- 1\n', /expected a map "images"/],
  ['broken YAML', 'images: [\n', /f:\d+: /],
] as const) {
  test(`${what} is refused with file and line`, () => {
    assert.throws(() => parseImages('f', text), message)
  })
}

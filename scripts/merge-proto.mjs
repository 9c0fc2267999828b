// Lays a part of a .proto file over the whole file: what has the same name is replaced, what is new is added.

/**
 * `text` with the declarations of `later`: imports, messages, enums and oneofs are merged by name, fields and values
 * replaced by name or added. Numbers that were reserved may be taken by now, so reservations go.
 */
export function mergeProto(text, later) {
  const file = parse(text)
  merge(file, parse(later))
  return print(file, '')
}

const BLOCKS = new Set(['message', 'enum', 'oneof', 'extend'])
const COMMENT_OR_STRING = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/y

/**
 * A declaration: `head` is its text before the body, comments included; `items` its body, null where there is none.
 * `name` is what identifies it among its siblings.
 */
function parse(text) {
  let at = 0
  function body(nested) {
    const items = []
    let start = at
    let code = ''
    for (let depth = 0; at < text.length; at++) {
      const char = text[at]
      COMMENT_OR_STRING.lastIndex = at
      const skipped = COMMENT_OR_STRING.exec(text)
      if (skipped) {
        if (char !== '/') code += skipped[0]
        at += skipped[0].length - 1
      } else if (char === ';' && depth === 0) {
        items.push({ name: nameOf(code), head: text.slice(start, at + 1), items: null })
        start = at + 1
        code = ''
      } else if (char === '{' && depth === 0 && BLOCKS.has(code.trim().split(/\s/)[0])) {
        const head = text.slice(start, at)
        at++
        items.push({ name: code.trim(), head, items: body(true) })
        start = at + 1
        code = ''
      } else if (char === '}' && depth === 0) {
        if (nested) return items
        throw new Error('merge-proto: unbalanced }')
      } else {
        if ('{[('.includes(char)) depth++
        if ('}])'.includes(char)) depth--
        code += char
        if (char === '}' && depth === 0 && /^\s*service\b/.test(code)) {
          items.push({ name: /service\s+\w+/.exec(code)[0], head: text.slice(start, at + 1), items: null })
          start = at + 1
          code = ''
        }
      }
    }
    if (nested) throw new Error('merge-proto: a block does not end')
    return items
  }
  return body(false)
}

/** `import "x"`, `option y`, or the name of a field or enum value; '' for what is dropped. */
function nameOf(code) {
  const words = code.trim()
  if (/^(?:import|package|syntax|option)\b/.test(words)) return words.replace(/\s+/g, ' ').replace(/ public /, ' ')
  if (/^reserved\b/.test(words)) return ''
  return /(\w+)\s*=\s*-?\w+/.exec(words.replace(/\[[\s\S]*\]/, ''))?.[1] ?? words
}

function merge(into, later) {
  for (const item of into.filter(({ name }) => name === '')) into.splice(into.indexOf(item), 1)
  for (const item of later) {
    const same = into.find(({ name }) => name === item.name)
    if (same?.items && item.items) {
      // A field that a oneof takes in stands outside of it no more.
      for (const { name } of item.head.includes('oneof') ? item.items : []) remove(into, name)
      merge(same.items, item.items)
    } else if (item.items === null && /^(?:import|package|syntax|option)\b/.test(item.name)) {
      if (!same) into.splice(into.findLastIndex(({ name }) => /^(?:import|package)\b/.test(name)) + 1, 0, item)
    } else {
      // A field keeps its place: JSON for people has fields in the order of their declaration.
      const place = into.findIndex(({ name }) => name === item.name)
      remove(into, item.name)
      if (item.head.includes('oneof')) for (const { name } of item.items ?? []) remove(into, name)
      into.splice(place < 0 ? into.length : Math.min(place, into.length), 0, item)
    }
  }
}

/** Removes the field `name` of a message, from its oneofs too. */
function remove(items, name) {
  for (let i = items.length - 1; i >= 0; i--) {
    if (items[i].name === name) items.splice(i, 1)
    else if (/^oneof\b/.test(items[i].name)) remove(items[i].items, name)
  }
}

function print(items, indent) {
  return items
    .map(({ head, items: inner }) => {
      const text = `\n${indent}${head.trim()}`
      return inner === null ? text : `${text} {${print(inner, `${indent}  `)}\n${indent}}`
    })
    .join('')
}

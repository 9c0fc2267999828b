// Writes src/api/later: what the API of the Envoy on the PATH has beyond the protos of @grpc/grpc-js-xds, read from the
// descriptors in its binary. Run it for a new Envoy; test/interop/config/api.test.ts says when it is due.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fromBinary, getExtension, hasExtension, ScalarType, toBinary } from '@bufbuild/protobuf'
import { reflect } from '@bufbuild/protobuf/reflect'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { disabled, FieldRulesSchema, required, rules } from '../src/api/gen/validate/validate_pb.js'
import { envoyDescriptors } from '../test/interop/harness/envoy-descriptors.ts'
import { envoyBinary } from '../test/interop/harness/proxies.ts'
import { later, protoFiles, protoRoots, root } from './proto-files.mjs'

const REPEATED = 3
/** Whose files are not compared: they are not Envoy's, or say nothing of configuration. */
const NOT_COMPARED = /^(?:google|validate|opencensus|opentelemetry|istio|udpa\/annotations|xds\/annotations)\//

/** Descriptors of the package's files. */
function compiled(paths) {
  const dir = mkdtempSync(join(tmpdir(), 'envoy-api-'))
  for (const [path, text] of protoFiles(paths, { withLater: false })) {
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), text)
  }
  writeFileSync(join(dir, 'buf.yaml'), 'version: v2\n')
  execFileSync(join(root, 'node_modules/.bin/buf'), ['build', '-o', 'image.binpb', '--exclude-source-info'], {
    cwd: dir,
  })
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(join(dir, 'image.binpb')))
  rmSync(dir, { recursive: true })
  return new Map(file.map((f) => [f.name, f]))
}

/** Text format of a message of validate.rules. */
function textOf(message) {
  const shown = (field, value) => {
    if (field.enum) return field.enum.value[value].name
    if (typeof value === 'object') return textOf(value)
    return typeof value === 'string' ? JSON.stringify(value) : String(value)
  }
  const parts = []
  for (const field of message.desc.fields) {
    if (!message.isSet(field)) continue
    const value = message.get(field)
    for (const item of field.fieldKind === 'list' ? value : [value]) parts.push(`${field.name}: ${shown(field, item)}`)
  }
  return `{${parts.join(' ')}}`
}

function optionsOf(field) {
  const { options } = field
  if (!options || !hasExtension(options, rules)) return ''
  return ` [(validate.rules) = ${textOf(reflect(FieldRulesSchema, getExtension(options, rules)))}]`
}

function rulesOf(field) {
  const { options } = field
  return options && hasExtension(options, rules)
    ? Buffer.from(toBinary(FieldRulesSchema, getExtension(options, rules))).toString('hex')
    : ''
}

function typeOf(field, message) {
  if (!field.typeName) return ScalarType[field.type].toLowerCase()
  const entry = message.nestedType.find(
    (m) => m.options?.mapEntry && field.typeName.endsWith(`.${message.name}.${m.name}`),
  )
  return entry ? `map<${typeOf(entry.field[0], entry)}, ${typeOf(entry.field[1], entry)}>` : field.typeName
}

function fieldText(field, message) {
  const type = typeOf(field, message)
  const label =
    field.label === REPEATED && !type.startsWith('map<') ? 'repeated ' : field.proto3Optional ? 'optional ' : ''
  return `${label}${type} ${field.name} = ${field.number}${optionsOf(field)};`
}

const oneofOf = (field, message) =>
  Object.hasOwn(field, 'oneofIndex') && !field.proto3Optional ? message.oneofDecl[field.oneofIndex] : undefined

function same(a, b, messageA, messageB) {
  return (
    a.type === b.type &&
    a.typeName === b.typeName &&
    a.label === b.label &&
    a.number === b.number &&
    rulesOf(a) === rulesOf(b) &&
    oneofOf(a, messageA)?.name === oneofOf(b, messageB)?.name
  )
}

/** Lines that make `known` (undefined: nothing) what `wanted` is. */
function enumLines(wanted, known) {
  const values = wanted.value.filter((v) => !known?.value.some((k) => k.name === v.name))
  return values.length === 0 ? [] : [`enum ${wanted.name} {`, ...values.map((v) => `  ${v.name} = ${v.number};`), '}']
}

function messageLines(wanted, known) {
  const lines = []
  const oneofs = new Map()
  for (const field of wanted.field) {
    const old = known?.field.find((f) => f.name === field.name)
    if (old && same(field, old, wanted, known)) continue
    const oneof = oneofOf(field, wanted)
    if (oneof) oneofs.set(oneof, [...(oneofs.get(oneof) ?? []), field])
    else lines.push(fieldText(field, wanted))
  }
  for (const [oneof, fields] of oneofs) {
    const needed = oneof.options && hasExtension(oneof.options, required) && getExtension(oneof.options, required)
    const isNew = !known?.oneofDecl.some(({ name }) => name === oneof.name)
    const option = needed && isNew ? ['  option (validate.required) = true;'] : []
    lines.push(`oneof ${oneof.name} {`, ...option, ...fields.map((f) => `  ${fieldText(f, wanted)}`), '}')
  }
  for (const inner of wanted.nestedType)
    if (!inner.options?.mapEntry)
      lines.push(
        ...messageLines(
          inner,
          known?.nestedType.find((m) => m.name === inner.name),
        ),
      )
  for (const inner of wanted.enumType)
    lines.push(
      ...enumLines(
        inner,
        known?.enumType.find((e) => e.name === inner.name),
      ),
    )
  if (
    wanted.options &&
    hasExtension(wanted.options, disabled) &&
    !(known?.options && hasExtension(known.options, disabled))
  )
    lines.unshift('option (validate.disabled) = true;')
  if (lines.length === 0 && known) return []
  return [`message ${wanted.name} {`, ...lines.map((line) => `  ${line}`), '}']
}

/** The part of the file `wanted` that `known` lacks; '' = none. */
function fileText(wanted, known) {
  const lines = [
    ...wanted.messageType.flatMap((m) =>
      messageLines(
        m,
        known?.messageType.find((k) => k.name === m.name),
      ),
    ),
    ...wanted.enumType.flatMap((e) =>
      enumLines(
        e,
        known?.enumType.find((k) => k.name === e.name),
      ),
    ),
  ]
  if (lines.length === 0) return ''
  const imports = wanted.dependency.filter((d) => !known?.dependency.includes(d) && !/opencensus|annotations/.test(d))
  if (
    lines.some((line) => line.includes('(validate.')) &&
    !imports.includes('validate/validate.proto') &&
    !known?.dependency.includes('validate/validate.proto')
  )
    imports.push('validate/validate.proto')
  const head = known ? [] : ['syntax = "proto3";', '', `package ${wanted.package};`, '']
  return [...head, ...imports.map((i) => `import "${i}";`), ...(imports.length ? [''] : []), ...lines, ''].join('\n')
}

const binary = envoyBinary()
if (binary === null) throw new Error('envoy-api: there is no Envoy on the PATH')
const envoy = envoyDescriptors(binary)
const wanted = new Set()
const queue = protoRoots()
for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
  if (wanted.has(path) || NOT_COMPARED.test(path) || !envoy.has(path)) continue
  wanted.add(path)
  queue.push(...envoy.get(path).dependency)
}
const known = compiled([...protoRoots(), ...wanted])
rmSync(later, { recursive: true, force: true })
let count = 0
for (const path of [...wanted].sort()) {
  const text = fileText(envoy.get(path), known.get(path))
  if (text === '') continue
  mkdirSync(dirname(join(later, path)), { recursive: true })
  writeFileSync(join(later, path), text)
  count++
}
console.log(`envoy-api: ${count} of ${wanted.size} files have gained something`)

// Our protobuf schema knows every field, enum value and validation rule that Envoy's own does, as its binary tells. Where
// this fails for a newer Envoy, `node scripts/envoy-api.mjs` writes what is missing to src/api/later.

import assert from 'node:assert/strict'
import { it } from 'node:test'
import { type DescFile, getExtension, hasExtension, toBinary } from '@bufbuild/protobuf'
import type { DescriptorProto, EnumDescriptorProto, FieldDescriptorProto } from '@bufbuild/protobuf/wkt'
import { FieldRulesSchema, rules } from '../../../src/api/gen/validate/validate_pb.js'
import { loadModule, readModuleIndex } from '../../../src/api/generated.ts'
import { registerExtensions } from '../../../src/proxy/filters/register.ts'
import { envoyDescriptors } from '../harness/envoy-descriptors.ts'
import { envoyBinary } from '../harness/proxies.ts'

/** Not Envoy's, or written anew with the few messages that we use; client status is what istiod answers, Envoy's binary has none. */
const NOT_COMPARED =
  /^(?:google|validate|opentelemetry|istio|udpa\/annotations|xds\/annotations|envoy\/service\/status)\//
/** Only in the Envoy that Istio builds. */
const ISTIOS = /^(?:istio|io\.istio|stats\.|envoy\.tcp\.metadataexchange)/

const binary = envoyBinary()
const skip = binary === null ? 'real Envoy is not installed' : false

/** Every message and enum below `prefix`, by full name. */
function collect(
  prefix: string,
  from: {
    readonly messageType?: DescriptorProto[]
    readonly nestedType?: DescriptorProto[]
    enumType: EnumDescriptorProto[]
  },
  into: { messages: Map<string, DescriptorProto>; enums: Map<string, EnumDescriptorProto> },
): typeof into {
  for (const e of from.enumType) into.enums.set(`${prefix}.${e.name}`, e)
  for (const message of from.messageType ?? from.nestedType ?? []) {
    into.messages.set(`${prefix}.${message.name}`, message)
    collect(`${prefix}.${message.name}`, message, into)
  }
  return into
}

function shape(field: FieldDescriptorProto, { oneofDecl }: DescriptorProto): string {
  const { options } = field
  const checked = options && hasExtension(options, rules) ? getExtension(options, rules) : undefined
  const oneof = Object.hasOwn(field, 'oneofIndex') && !field.proto3Optional ? oneofDecl[field.oneofIndex]!.name : ''
  const text = checked ? Buffer.from(toBinary(FieldRulesSchema, checked)).toString('hex') : ''
  return `${field.number} ${field.label} ${field.type} ${field.typeName} ${oneof} ${text}`
}

const empty = () => ({ messages: new Map<string, DescriptorProto>(), enums: new Map<string, EnumDescriptorProto>() })

it('our schema has every field, value and rule that Envoy has', { skip }, () => {
  const files = new Set<DescFile>()
  for (const path of new Set(Object.values(readModuleIndex()))) {
    const file = Object.values(loadModule(path)).find((v) => (v as { kind?: string } | undefined)?.kind === 'file')
    files.add(file as DescFile)
  }
  const envoy = envoyDescriptors(binary!)
  const missing: string[] = []
  let compared = 0
  for (const { proto } of files) {
    const theirs = envoy.get(proto.name)
    if (NOT_COMPARED.test(proto.name)) continue
    assert.ok(theirs, `Envoy has no ${proto.name}`)
    const wanted = collect(theirs.package, theirs, empty())
    const known = collect(proto.package, proto, empty())
    for (const [name, message] of wanted.messages) {
      const ours = known.messages.get(name)
      if (!ours) missing.push(name)
      for (const field of ours ? message.field : []) {
        compared++
        const own = ours!.field.find((f) => f.name === field.name)
        if (!own || shape(own, ours!) !== shape(field, message)) missing.push(`${name}.${field.name}`)
      }
    }
    for (const [name, { value }] of wanted.enums)
      for (const v of value)
        if (!known.enums.get(name)?.value.some((own) => own.name === v.name && own.number === v.number))
          missing.push(`${name}.${v.name}`)
  }
  assert.deepEqual(missing, [])
  assert.ok(compared > 1500, `only ${compared} fields were compared`)
})

it('Envoy has every extension that we register', { skip }, () => {
  const names = new Set<string>()
  for (const file of envoyDescriptors(binary!).values())
    for (const { name } of file.messageType) names.add(`${file.package}.${name}`)
  const unknown = registerExtensions()
    .all()
    .filter(({ typeName }) => !names.has(typeName) && !ISTIOS.test(typeName))
  assert.deepEqual(unknown, [])
})

// Our control plane asked like a server, without one: every proxy of a mesh is answered by one generator.
import { type DescMessage, fromBinary, type JsonValue } from '@bufbuild/protobuf'
import { placed } from '../../src/pilot/model/placed.ts'
import type { PushContext } from '../../src/pilot/model/push-context.ts'
import { ResourceGenerator } from '../../src/pilot/push/resources.ts'
import { ANSWERED, type Answered } from './ads.ts'
import { messageJson, type ProxyDescription, proxyNodeOf } from './pilot.ts'

/** Asks for resources of one type; `names` empty means all. As a client reads what it is sent. */
export type AskAbout = (proxy: ProxyDescription, type: Answered, names: readonly string[]) => JsonValue[]

/** Who asks is who it says it is: {@link answersOf} tells istiod the same. */
const PROVEN = true

/** What the generator keeps for one proxy must not be given to another by mistake, so they share it here, too. */
export function askerOf(push: PushContext): AskAbout {
  const generator = new ResourceGenerator()
  return (description, type, names) => {
    const schema = ANSWERED[type]
    const proxy = placed(proxyNodeOf(description), push)
    return generator
      .generate(`type.googleapis.com/${schema.typeName}`, proxy, push, names.length > 0 ? names : null, PROVEN)
      .map(({ body }) => messageJson(schema, fromBinary<DescMessage>(schema, body)))
  }
}

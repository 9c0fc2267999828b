// local_reply_config, from plain data to what runs in a worker.

import type { RuntimeSnapshot } from '../../config/extension.ts'
import { compileLogFormat } from '../../filters/access-loggers/log-format.ts'
import { compileLogFilter } from '../../observe/access-log-filter.ts'
import { HeaderMutations } from '../../route/header-mutation.ts'
import type { BodyFormat, LocalReplyConfig } from './config.ts'
import { LocalReplies, type ReplyFormatter } from './local-replies.ts'

export function compileLocalReplies(config: LocalReplyConfig | null, runtime: RuntimeSnapshot): LocalReplies {
  if (!config) return new LocalReplies([], null)
  const mappers = config.mappers.map((mapper): ReplyFormatter => {
    const matches = compileLogFilter(mapper.filter, runtime)
    const mutations = new HeaderMutations(mapper.headersToAdd)
    return {
      matches,
      status: mapper.status,
      body: mapper.body,
      ...compileFormat(mapper.bodyFormat),
      addHeaders: (headers, stream) => mutations.apply(headers, stream.info, stream.requestHeaders, headers),
    }
  })
  const common: ReplyFormatter | null = config.bodyFormat && {
    matches: () => true,
    status: 0,
    body: null,
    ...compileFormat(config.bodyFormat),
    addHeaders: () => {},
  }
  return new LocalReplies(mappers, common)
}

function compileFormat(bodyFormat: BodyFormat | null): Pick<ReplyFormatter, 'format' | 'contentType'> {
  if (!bodyFormat) return { format: null, contentType: 'text/plain' }
  const line = compileLogFormat(bodyFormat.format)
  const json = bodyFormat.format.kind === 'json'
  return {
    format: (stream) => line.format(stream),
    contentType: bodyFormat.contentType || (json ? 'application/json' : 'text/plain'),
  }
}

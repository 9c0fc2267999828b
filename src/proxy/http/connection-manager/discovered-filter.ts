// A filter of ECDS in a worker: each stream gets the newest configuration, and keeps what it began with.

import type { ParsedExtension, WorkerContext } from '../../config/extension.ts'
import { PassThroughDecoderFilter } from '../../filters/http/pass-through.ts'
import { FilterHeadersStatus, type HttpFilterFactory } from '../filter.ts'

/** `fallback`: the default configuration; null = without any configuration requests are answered 500. */
export function discoveredFilter(
  name: string,
  fallback: ParsedExtension | null,
  statPrefix: string,
  context: WorkerContext,
): HttpFilterFactory {
  let made: ParsedExtension | null = null
  let factory: HttpFilterFactory = missingConfig
  const refresh = (): void => {
    const newest = context.discovered(name) ?? fallback
    if (newest === made) return
    made = newest
    factory = newest === null ? missingConfig : context.createHttpFilter(newest, statPrefix)
  }
  refresh()
  return (callbacks) => {
    refresh()
    factory(callbacks)
  }
}

const missingConfig: HttpFilterFactory = (callbacks) => callbacks.addStreamDecoderFilter(new MissingConfigFilter())

/** What this filter should do is not known, and it may be what protects the workload. */
class MissingConfigFilter extends PassThroughDecoderFilter {
  override decodeHeaders(): FilterHeadersStatus {
    this.callbacks.streamInfo.setFlag('NFCF')
    this.callbacks.sendLocalReply(500, '', null, null, '')
    return FilterHeadersStatus.StopIteration
  }
}

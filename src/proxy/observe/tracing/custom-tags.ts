// custom_tags of connection managers and routes.

import type { LogContext } from '../access-log.ts'
import { TextFormat } from '../format/text-format.ts'
import type { CustomTagData } from './config.ts'
import type { Span } from './span.ts'

/** Sets one tag, where it has a value. */
export interface CustomTag {
  readonly tag: string
  apply(span: Span, context: LogContext): void
}

/** `environment` is read once: it does not change while the process runs. */
export function compileCustomTag(data: CustomTagData, environment: NodeJS.ProcessEnv): CustomTag {
  const read = compileValue(data, environment)
  return {
    tag: data.tag,
    apply: (span, context) => {
      const value = read(context)
      if (value !== '') span.setTag(data.tag, value)
    },
  }
}

function compileValue(data: CustomTagData, environment: NodeJS.ProcessEnv): (context: LogContext) => string {
  switch (data.kind) {
    case 'literal':
      return () => data.value
    case 'environment': {
      const value = environment[data.name] || data.defaultValue
      return () => value
    }
    case 'request_header':
      return ({ requestHeaders }) => requestHeaders?.get(data.name) ?? data.defaultValue
    case 'value': {
      const format = new TextFormat(data.format, true, `custom_tags["${data.tag}"].value`)
      return (context) => format.format(context)
    }
    case 'metadata':
      return (context) => metadataText(data, context) ?? data.defaultValue
  }
}

function metadataText(data: Extract<CustomTagData, { kind: 'metadata' }>, { info }: LogContext): string | null {
  let value: unknown = {
    request: info.dynamicMetadata,
    route: info.route?.metadata,
    cluster: info.upstreamClusterMetadata,
    host: info.upstreamHost?.metadata,
  }[data.source]?.[data.namespace]
  for (const key of data.path) {
    if (typeof value !== 'object' || value === null) return null
    value = (value as Record<string, unknown>)[key]
  }
  if (value === undefined || value === null) return null
  return typeof value === 'string' ? value : JSON.stringify(value)
}

// A config dump (of an admin port, of the pilot's debug page, or from a file) as plain JSON, and its parts.

import type { JsonObject } from '@bufbuild/protobuf'
import { UserError } from '../../base/errors.ts'

/** Proto JSON with snake_case field names. */
export type Json = Readonly<Record<string, unknown>>

const ADMIN = 'type.googleapis.com/envoy.admin.v3.'

/** One resource of a dump, as written (for -o json) and with snake_case names (for tables). */
export interface Dumped {
  readonly raw: JsonObject
  readonly value: Json
}

/** Parses the text of a dump. Throws UserError for what is none. */
export class ConfigDump {
  readonly raw: JsonObject
  private readonly sections: readonly Json[]

  constructor(text: string) {
    let parsed: unknown
    try {
      parsed = JSON.parse(text)
    } catch (error) {
      throw new UserError(`error unmarshalling config dump response from Envoy: ${(error as Error).message}`, 1, {
        cause: error,
      })
    }
    const configs = (parsed as { configs?: unknown } | null)?.configs
    if (!Array.isArray(configs)) throw new UserError('the file is no config dump: it has no "configs" list')
    this.raw = parsed as JsonObject
    this.sections = configs as Json[]
  }

  /** The section of a type, e.g. `ClustersConfigDump`. Throws UserError when it is missing. */
  section(type: string): Json {
    const found = this.sections.find((section) => section['@type'] === ADMIN + type)
    if (!found) throw new UserError(`config dump has no configuration type ${ADMIN}${type}`)
    return found
  }

  hasSection(type: string): boolean {
    return this.sections.some((section) => section['@type'] === ADMIN + type)
  }

  /** The sections with only what came over xDS. */
  dynamicSections(): Json[] {
    return this.sections.map((section) =>
      Object.fromEntries(Object.entries(section).filter(([key]) => !key.startsWith('static'))),
    )
  }

  /** When the newest route configuration came, as Go's RFC1123 prints it (in UTC); '' when none did. */
  routesLoaded(): string {
    const entries = field(this.section('RoutesConfigDump'), 'dynamic_route_configs')
    const times = (Array.isArray(entries) ? (entries as Json[]) : []).map((entry) =>
      Date.parse(String(field(entry, 'last_updated'))),
    )
    const newest = Math.max(...times.filter((time) => !Number.isNaN(time)))
    return Number.isFinite(newest) ? new Date(newest).toUTCString().replace('GMT', 'UTC') : ''
  }

  /** Resources of one list of a section: `list(section, 'dynamic_active_clusters', 'cluster')`. Entries without it are left out. */
  list(type: string, list: string, ...path: string[]): Dumped[] {
    const entries = field(this.section(type), list)
    const out: Dumped[] = []
    for (const entry of Array.isArray(entries) ? (entries as Json[]) : []) {
      let inner: unknown = entry
      for (const step of path)
        inner = typeof inner === 'object' && inner !== null ? field(inner as Json, step) : undefined
      if (inner === undefined || inner === null) continue
      out.push({ raw: inner as JsonObject, value: snakeCase(inner) as Json })
    }
    return out
  }
}

/** A field by its snake_case name, written either way. */
export function field(object: Json, name: string): unknown {
  return object[name] ?? object[camel(name)]
}

function camel(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** Keys of these maps are data, not field names. */
const DATA = new Set(['filter_metadata', 'typed_filter_metadata', 'typed_per_filter_config', 'value', 'fields'])

/** A deep copy with snake_case field names. */
export function snakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCase)
  if (typeof value !== 'object' || value === null) return value
  const out: Record<string, unknown> = {}
  for (const [key, inner] of Object.entries(value)) {
    const name = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    out[name] = DATA.has(name) && !Array.isArray(inner) ? inner : snakeCase(inner)
  }
  return out
}

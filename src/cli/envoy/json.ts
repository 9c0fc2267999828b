// Reading fields of unknown JSON without trusting its shape.

import type { Json } from './config-dump.ts'

export function string(object: Json | undefined, name: string): string {
  const value = object?.[name]
  return typeof value === 'string' ? value : ''
}

/** Numbers, also when written as text (64-bit integers of proto JSON). */
export function number(object: Json | undefined, name: string): number {
  const value = Number(object?.[name] ?? 0)
  return Number.isFinite(value) ? value : 0
}

export function object(parent: Json | undefined, ...path: string[]): Json | undefined {
  let value: unknown = parent
  for (const name of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Json)[name]
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined
}

export function list(parent: Json | undefined, name: string): readonly Json[] {
  const value = parent?.[name]
  return Array.isArray(value) ? (value as Json[]) : []
}

export function strings(parent: Json | undefined, name: string): readonly string[] {
  const value = parent?.[name]
  return Array.isArray(value) ? value.map(String) : []
}

/** `<name>.<namespace>` of the Istio resource that a piece of configuration was made of, or ''. */
export function managedBy(metadata: Json | undefined): string {
  const path = string(object(metadata, 'filter_metadata', 'istio'), 'config')
  const parts = path.split('/')
  return parts.length === 8 ? `${parts[7]}.${parts[5]}` : ''
}

// Inputs of our own beside the goldens: what they do not cover, each a folder of the same form. A folder that real istiod
// was asked about (record.ts) holds its answers; all of them are shown to real Envoy.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { type MeshNetworks, parseMeshNetworks } from '../../src/config/index.ts'

export const OWN_INPUTS: string = join(import.meta.dirname, 'inputs')

/** The folders of a directory that hold an input. */
export function inputsIn(path: string): string[] {
  return readdirSync(path)
    .sort()
    .map((name) => join(path, name))
    .filter((folder) => existsSync(join(folder, 'input.yaml')))
}

/** A file of a folder; empty when there is none. */
export function read(folder: string, file: string): string {
  const path = join(folder, file)
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

export function networksOf(folder: string): MeshNetworks {
  const parsed = parseMeshNetworks(parse(read(folder, 'networks.yaml')))
  if (!parsed.ok) throw new Error(`${folder}: ${parsed.problems[0]!.path} ${parsed.problems[0]!.message}`)
  return parsed.value
}

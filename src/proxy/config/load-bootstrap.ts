// The bootstrap: read from a file (format by its extension) and/or the command line, as Envoy does (envoy-contract §1.1, §2).

import { readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type Bootstrap, BootstrapSchema } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { LocalitySchema, NodeSchema } from '../../api/gen/envoy/config/core/v3/base_pb.js'
import { ConfigError, errorText } from '../../base/errors.ts'
import { parseJson } from './json.ts'
import { checkRules } from './validate-rules.ts'
import { parseEnvoyYaml } from './yaml.ts'

export interface BootstrapSources {
  /** `-c`: .json, .yaml, .yml or .pb. */
  readonly path?: string
  /** `--config-yaml`: merged over the file; messages merge, scalars replace, lists append. */
  readonly yaml?: string
  /** `--allow-unknown-static-fields`. */
  readonly allowUnknownFields: boolean
  /** `--service-node`, `--service-cluster`, `--service-zone`: override the bootstrap's. */
  readonly node?: {
    readonly id?: string | undefined
    readonly cluster?: string | undefined
    readonly zone?: string | undefined
  }
}

/** Throws ConfigError: unreadable file, syntax, unknown field, or a broken rule, with the field's path. */
export function loadBootstrap(sources: BootstrapSources): Bootstrap {
  if (sources.path === undefined && !sources.yaml) {
    throw new ConfigError(
      '',
      'At least one of --config-path or --config-yaml or Options::configProto() should be non-empty',
    )
  }
  let bootstrap =
    sources.path === undefined ? create(BootstrapSchema) : readBootstrap(sources.path, sources.allowUnknownFields)
  if (sources.yaml) {
    const overlay = parseJson(BootstrapSchema, yamlToJson(sources.yaml, '--config-yaml'), {
      path: '',
      ignoreUnknownFields: sources.allowUnknownFields,
    })
    // Protobuf's own merge: decoding a second message into the first.
    bootstrap = fromBinary(
      BootstrapSchema,
      Buffer.concat([toBinary(BootstrapSchema, bootstrap), toBinary(BootstrapSchema, overlay)]),
    )
  }
  overrideNode(bootstrap, sources.node)
  checkRules(BootstrapSchema, bootstrap, '')
  return bootstrap
}

function overrideNode(bootstrap: Bootstrap, over: BootstrapSources['node']): void {
  if (!over || (over.id === undefined && over.cluster === undefined && over.zone === undefined)) return
  bootstrap.node ??= create(NodeSchema)
  if (over.id !== undefined) bootstrap.node.id = over.id
  if (over.cluster !== undefined) bootstrap.node.cluster = over.cluster
  if (over.zone !== undefined) {
    bootstrap.node.locality ??= create(LocalitySchema)
    bootstrap.node.locality.zone = over.zone
  }
}

function readBootstrap(path: string, allowUnknownFields: boolean): Bootstrap {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    throw new ConfigError('', `unable to read file: ${path} (${errorText(error)})${readHint(error)}`, { cause: error })
  }
  switch (extname(path)) {
    case '.pb':
      try {
        return fromBinary(BootstrapSchema, bytes)
      } catch (error) {
        throw new ConfigError(
          '',
          `${path} is no binary ${BootstrapSchema.typeName}: ${errorText(error)}; name files of text .yaml or .json`,
          { cause: error },
        )
      }
    case '.pb_text':
      throw new ConfigError('', `${path}: text protobuf is not supported; use .json, .yaml or .pb`)
    default:
      return parseJson(BootstrapSchema, yamlToJson(bytes.toString('utf8'), path), {
        path: '',
        ignoreUnknownFields: allowUnknownFields,
      })
  }
}

/** What to do about a file that cannot be read. */
function readHint(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return '; name an existing file with -c, or give the configuration itself with --config-yaml'
    case 'EACCES':
    case 'EPERM':
      return `; let the user that runs the proxy (uid ${process.getuid?.() ?? 'unknown'}) read it`
    case 'EISDIR':
      return '; -c names a file, not a folder'
    default:
      return ''
  }
}

/** YAML is a superset of JSON. */
function yamlToJson(text: string, source: string): unknown {
  const json = text.trimStart().startsWith('{') && source.endsWith('.json')
  let value: unknown
  try {
    value = json ? JSON.parse(text) : parseEnvoyYaml(text)
  } catch (error) {
    const reason = errorText(error).split('\n')[0]!.replace(/:$/, '')
    const hint = json ? 'mend the JSON there, or call the file .yaml' : 'mend the YAML there'
    throw new ConfigError('', `${source}: ${reason}; ${hint}`, { cause: error })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  const found =
    value === null || value === undefined ? 'nothing' : Array.isArray(value) ? 'a list' : `a ${typeof value}`
  throw new ConfigError(
    '',
    `${source} holds ${found}; a bootstrap is an object with fields of ${BootstrapSchema.typeName}, such as static_resources`,
  )
}

// Container images as local commands. There is no registry and no container runtime: a plain file says which program
// of this machine an image name stands for.
import { dirname } from 'node:path'
import { LineCounter, parseDocument, YAMLMap } from 'yaml'
import { UserError } from '../base/errors.ts'
import { NODE_PATHS } from './node-setup.ts'

/** What runs for an image. As in an image's config: the container's `command` replaces `command`, its `args` replace `args`. */
export interface Image {
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Working directory on the host; containers see it at another path. */
  readonly workingDir?: string
  /** User the program runs as when the pod does not say; undefined = a number of the pod's own. */
  readonly user?: number
}

/** Name of the file, beside the manifests of a folder, that maps image names to commands. */
export const IMAGES_FILE = 'images.yaml'

/** The sidecar and gateway image: its entry point takes `proxy sidecar …`, `proxy router …` and `istio-iptables …`. */
export const PROXY_IMAGE = 'outrigger/proxyv2'

/**
 * `image.yaml` reads: `images: { NAME: { command: [...], args: [...], env: {...}, user: 1000 } }`. NAME is an image
 * reference; without a tag it stands for every tag. Commands run in the folder of the file, and `node` is the Node
 * that runs Outrigger.
 */
export function parseImages(file: string, text: string): Map<string, Image> {
  const lines = new LineCounter()
  const doc = parseDocument(text, { lineCounter: lines })
  const fault = doc.errors[0]
  if (fault) {
    throw new UserError(`${file}:${lines.linePos(fault.pos[0]).line}: ${fault.message.split('\n')[0]}`, 65)
  }
  const images = new Map<string, Image>()
  const root: unknown = doc.toJS()
  const at = (path: (string | number)[]) => {
    const node = doc.getIn(path, true) as { range?: [number, number, number] | null } | undefined
    return `${file}:${lines.linePos(node?.range?.[0] ?? 0).line}`
  }
  if (!isRecord(root) || !isRecord(root.images) || !(doc.get('images') instanceof YAMLMap)) {
    throw new UserError(`${at([])}: expected a map "images" of image name to {command, args, env, user}`, 65)
  }
  onlyKeys(root, ['images'], at([]))
  for (const [name, entry] of Object.entries(root.images)) {
    const where = at(['images', name])
    if (!isRecord(entry)) throw new UserError(`${where}: image ${name} needs a map with "command"`, 65)
    onlyKeys(entry, ['command', 'args', 'env', 'user'], where)
    const { command, args = [], env = {}, user } = entry
    if (!isStrings(command) || command.length === 0) {
      throw new UserError(`${where}: image ${name} needs "command", a list of at least one string`, 65)
    }
    if (!isStrings(args)) throw new UserError(`${where}: image ${name}: "args" must be a list of strings`, 65)
    if (!isRecord(env) || !Object.values(env).every((value) => typeof value === 'string')) {
      throw new UserError(`${where}: image ${name}: "env" must be a map of strings (quote numbers)`, 65)
    }
    if (user !== undefined && !(Number.isInteger(user) && (user as number) >= 0)) {
      throw new UserError(`${where}: image ${name}: "user" must be a numeric user id`, 65)
    }
    images.set(name, {
      command,
      args,
      env: env as Record<string, string>,
      workingDir: dirname(file),
      user: user as number | undefined,
    })
  }
  return images
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function onlyKeys(record: Record<string, unknown>, known: readonly string[], where: string): void {
  const unknown = Object.keys(record).find((key) => !known.includes(key))
  if (unknown !== undefined) {
    throw new UserError(`${where}: unknown field "${unknown}"; known fields: ${known.join(', ')}`, 65)
  }
}

/** Images every mesh knows. */
function builtInImages(): Map<string, Image> {
  const command = [`${NODE_PATHS.bin}/node`, `${NODE_PATHS.package}/bin/outrigger.js`]
  return new Map([[PROXY_IMAGE, { command, args: [], env: {}, user: 1337 }]])
}

/** Looks images up by reference: first the exact one, then without its tag or digest. */
export class ImageCatalogue {
  private images = builtInImages()

  /** Replaces the images of the mesh's folder; the built-in ones stay. */
  load(fromFolder: ReadonlyMap<string, Image>): void {
    this.images = new Map([...builtInImages(), ...fromFolder])
  }

  find(reference: string): Image | undefined {
    return this.images.get(reference) ?? this.images.get(withoutTag(reference))
  }
}

/** `docker.io/x/y:1.2@sha256:…` → `docker.io/x/y`; a port in the registry's name is no tag. */
export function withoutTag(reference: string): string {
  const name = reference.split('@')[0]!
  const colon = name.lastIndexOf(':')
  return colon > name.lastIndexOf('/') ? name.slice(0, colon) : name
}

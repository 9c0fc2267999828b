import { readFileSync, writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { errorText, UserError } from '../../base/errors.ts'
import type { MeshConfig } from '../../config/index.ts'

interface Options {
  readonly filename: string
  readonly output?: string
  readonly meshConfigFile?: string
}

/** `outrigger kube-inject -f FILE`: the manifest with sidecars in the pods of its workloads. */
export function register(program: Command): void {
  program
    .command('kube-inject')
    .description('add the sidecar to the pods of a manifest, for clusters without the injecting webhook')
    .requiredOption('-f, --filename <file>', 'manifest, or - for standard input')
    .option('-o, --output <file>', 'write here instead of to standard output')
    .option('--meshConfigFile <file>', 'MeshConfig whose defaultConfig the sidecars are told')
    .action(async (options: Options) => {
      const { injectDocuments } = await import('../../local/index.ts')
      const text = read(options.filename === '-' ? 0 : options.filename, options.filename)
      const injected = await injectDocuments(options.filename, text, await meshConfig(options.meshConfigFile))
      if (options.output === undefined) process.stdout.write(injected)
      else writeTo(options.output, injected)
    })
}

function read(from: string | number, name: string): string {
  try {
    return readFileSync(from, 'utf8')
  } catch (error) {
    throw new UserError(`cannot read ${name}: ${errorText(error)}`, 1, { cause: error })
  }
}

function writeTo(file: string, text: string): void {
  try {
    writeFileSync(file, text)
  } catch (error) {
    throw new UserError(`cannot write ${file}: ${errorText(error)}`, 1, { cause: error })
  }
}

async function meshConfig(file: string | undefined): Promise<MeshConfig | undefined> {
  if (file === undefined) return undefined
  const { parse } = await import('yaml')
  const { parseMeshConfig } = await import('../../config/index.ts')
  let document: unknown
  try {
    document = parse(read(file, file))
  } catch (error) {
    if (error instanceof UserError) throw error
    throw new UserError(`${file}: ${errorText(error).split('\n', 1)[0]}`, 65, { cause: error })
  }
  const parsed = parseMeshConfig(document)
  if (parsed.ok) return parsed.value
  const { path, message } = parsed.problems[0]!
  throw new UserError(`${file}: ${path}: ${message}`, 65)
}

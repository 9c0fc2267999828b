import { basename, relative } from 'node:path'
import { type Command, Option } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { Manifests } from '../../local/index.ts'
import { readInputs } from '../manifests.ts'

interface Options {
  readonly istioNamespace: string
  readonly filename: string[]
  readonly referential: string | boolean
}

/** `outrigger validate -f FILE…`: istiod's rules on files alone, with file and line. Exit code 1 for any error. */
export function register(program: Command): void {
  program
    .command('validate')
    .alias('v')
    .description('check Kubernetes and Istio YAML offline, as applying it would')
    .requiredOption('-f, --filename <path...>', 'files or folders; - reads standard input')
    .option(
      '-i, --istioNamespace <name>',
      "namespace of the control plane, whose own Services may break Istio's conventions",
      'istio-system',
    )
    .addOption(new Option('-x, --referential [bool]', 'always on').default('true').hideHelp())
    .action(async (options: Options) => {
      const { IMAGES_FILE, parseImages, readManifests } = await import('../../local/index.ts')
      const { conventionProblems } = await import('../../config/index.ts')
      const conventions = (objects: Manifests['objects'], istioNamespace: string) =>
        objects.flatMap(({ object, origin }) =>
          conventionProblems(object, istioNamespace).map(({ level, path, message }) => ({
            level,
            line: origin.line,
            message: `${object.kind} ${object.metadata.name}: ${path}: ${message}`,
          })),
        )
      if (options.referential !== true && options.referential !== 'true')
        throw new UserError('--referential cannot be turned off: resources are always checked whole', 64)
      const paths = options.filename.flatMap((names) => names.split(','))
      const files = await readInputs(paths)
      const errors: string[] = []
      for (const { file: path, text } of files) {
        const file = asGiven(path)
        if (basename(file) === IMAGES_FILE) {
          parseImages(file, text ?? '')
          console.log(`"${file}" is valid`)
          continue
        }
        const { objects, problems: found } = await readManifests(file, text ?? '')
        const problems = [...found, ...conventions(objects, options.istioNamespace)]
        const describe = (problem: { line: number; message: string }) =>
          `\t* ${file}:${problem.line}: ${problem.message}`
        const wrong = problems.filter((problem) => problem.level === 'error')
        const doubtful = problems.filter((problem) => problem.level === 'warning')
        errors.push(...wrong.map(describe))
        if (wrong.length > 0) continue
        if (doubtful.length === 0) console.log(`"${file}" is valid`)
        else console.log(`"${file}" has warnings: \n${doubtful.map(describe).join('\n')}`)
      }
      if (errors.length > 0) {
        throw new UserError(
          `${errors.length} ${errors.length === 1 ? 'error' : 'errors'} occurred:\n${errors.join('\n')}`,
        )
      }
    })
}

/** Below the current folder a path is told from there, as it was most likely written. */
function asGiven(path: string): string {
  const below = relative(process.cwd(), path)
  return below.startsWith('..') ? path : below
}

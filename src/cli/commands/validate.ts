import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { FolderFile } from '../../local/index.ts'

interface Options {
  readonly filename: string[]
}

/** `outrigger validate -f FILE…`: istiod's rules on files alone, with file and line. Exit code 1 for any error. */
export function register(program: Command): void {
  program
    .command('validate')
    .alias('v')
    .description('check Kubernetes and Istio YAML offline, as applying it would')
    .requiredOption('-f, --filename <path...>', 'files or folders')
    .action(async (options: Options) => {
      const { readFileOrFolder, readManifests } = await import('../../local/index.ts')
      const files: FolderFile[] = options.filename.flatMap((path) => readFileOrFolder(path))
      const errors: string[] = []
      for (const { file, text } of files) {
        const { problems } = await readManifests(file, text ?? '')
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

import type { Command } from 'commander'

/** `outrigger apply -f FILE|DIR`: creates or changes objects; all of them or, with an error, none. */
export function register(program: Command): void {
  program
    .command('apply')
    .description('create or change the objects of YAML or JSON files in the running mesh')
    .requiredOption('-f, --filename <path...>', 'file, folder, or - for standard input')
    .action(async ({ filename }: { filename: string[] }) => {
      const { LocalClient } = await import('../../local/index.ts')
      const { readInputs, printReport } = await import('../manifests.ts')
      const report = await new LocalClient().call('apply', { files: await readInputs(filename) })
      printReport(report, true)
      if (report.problems.some(({ level }) => level === 'error')) process.exitCode = 1
    })
}

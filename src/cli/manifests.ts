import type { ApplyReport, FolderFile } from '../local/index.ts'

/** Reads what `-f` names: files, folders, or `-` for standard input. */
export async function readInputs(paths: readonly string[]): Promise<FolderFile[]> {
  const { readFileOrFolder } = await import('../local/index.ts')
  const files: FolderFile[] = []
  for (const path of paths) {
    if (path === '-') files.push({ file: '<stdin>', text: await readStdin() })
    else files.push(...readFileOrFolder(path))
  }
  return files
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** Prints what an apply did, one line an object, and its problems, one line each, on stderr. */
export function printReport(report: ApplyReport, withUnchanged: boolean): void {
  for (const { object, action } of report.applied) {
    if (withUnchanged || action !== 'unchanged') console.log(`${object} ${action}`)
  }
  for (const { file, line, level, message } of report.problems) {
    console.error(`${level}: ${file ? `${file}:${line}: ` : ''}${message}`)
  }
}

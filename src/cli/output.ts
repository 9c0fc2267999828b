// Output forms that commands share.

import { UserError } from '../base/errors.ts'

/** JSON with four spaces, or YAML with sorted keys, as istioctl prints them. */
export async function printStructured(value: unknown, format: 'json' | 'yaml'): Promise<void> {
  if (format === 'json') {
    process.stdout.write(`${JSON.stringify(value, null, 4)}\n`)
    return
  }
  const { stringify } = await import('yaml')
  process.stdout.write(
    stringify(value, {
      sortMapEntries: true,
      lineWidth: 0,
      aliasDuplicateObjects: false,
      indentSeq: false,
      singleQuote: true,
    }),
  )
}

/** Checks `-o`. Throws UserError with the choices. */
export function outputFormat<F extends string>(text: string, formats: readonly F[]): F {
  if ((formats as readonly string[]).includes(text)) return text as F
  throw new UserError(`output format "${text}" not supported; use ${formats.join(', ')}`, 64)
}

/** A port given as an option; 0 when not given. */
export function portOption(text: string | undefined): number {
  if (text === undefined) return 0
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UserError(`--port ${text}: must be a port number`, 64)
  return port
}

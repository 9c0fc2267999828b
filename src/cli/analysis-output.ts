// Messages of the analysis as istioctl prints them.
import { UserError } from '../base/errors.ts'
import type { AnalysisMessage } from '../config/index.ts'
import { printStructured } from './output.ts'

/** Where the messages are explained. */
export const ANALYSIS_DOCUMENTATION = 'https://istio.io/latest/docs/reference/config/analysis'

export const MESSAGE_FORMATS = ['log', 'json', 'yaml'] as const
export type MessageFormat = (typeof MESSAGE_FORMATS)[number]

const LEVELS = ['Info', 'Warning', 'Error'] as const satisfies readonly AnalysisMessage['level'][]

/** Whether a message is of this level at least. */
export function isAtLeast({ level }: AnalysisMessage, least: number): boolean {
  return LEVELS.indexOf(level) >= least
}

/** A level as an option names it, for {@link isAtLeast}. Throws UserError for other words. */
export function levelOption(text: string, option: string): number {
  const level = LEVELS.findIndex((name) => name.toLowerCase() === text.toLowerCase())
  if (level < 0) throw new UserError(`${option} ${text}: must be ${LEVELS.join(', ')}`, 64)
  return level
}

/** Prints messages on standard output; `colored` in the log form only. */
export async function printMessages(
  messages: readonly AnalysisMessage[],
  format: MessageFormat,
  colored: boolean,
): Promise<void> {
  if (format === 'log') return printLog(messages, colored)
  const list = messages.map(({ code, level, message, origin, reference }) => ({
    code,
    documentationUrl: `${ANALYSIS_DOCUMENTATION}/${code.toLowerCase()}/`,
    level,
    message,
    origin,
    ...(reference ? { reference } : {}),
  }))
  if (format === 'yaml') await printStructured(list, 'yaml')
  else console.log(JSON.stringify(list, null, '\t'))
}

function printLog(messages: readonly AnalysisMessage[], colored: boolean): void {
  for (const { level, code, origin, reference, message } of messages) {
    const word = colored ? `${COLORS[level]}${level}${RESET}` : level
    console.log(`${word} [${code}] (${origin}${reference ? ` ${reference}` : ''}) ${message}`)
  }
}

const COLORS: Readonly<Record<AnalysisMessage['level'], string>> = {
  Info: '',
  Warning: '\u001b[33m',
  Error: '\u001b[1;31m',
}
const RESET = '\u001b[0m'

/** Colors are for a terminal, unless it cannot or somebody does not want them (https://no-color.org). */
export function colorful(): boolean {
  return process.stdout.isTTY === true && process.env.TERM !== 'dumb' && !process.env.NO_COLOR
}

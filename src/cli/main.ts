import { Command, CommanderError } from 'commander'
import { errorText, UserError } from '../base/errors.ts'
import { VERSION } from '../base/version.ts'
import { withReason } from './connection-flags.ts'

/** Every command: its name and the module that registers it. Modules load only when their word is used. */
const COMMANDS: Record<string, () => Promise<{ register(program: Command): void }>> = {
  admin: () => import('./commands/admin.ts'),
  agent: () => import('./commands/agent.ts'),
  analyze: () => import('./commands/analyze.ts'),
  apply: () => import('./commands/apply.ts'),
  'bug-report': () => import('./commands/bug-report.ts'),
  dashboard: () => import('./commands/dashboard.ts'),
  delete: () => import('./commands/delete.ts'),
  down: () => import('./commands/down.ts'),
  exec: () => import('./commands/exec.ts'),
  get: () => import('./commands/get.ts'),
  iptables: () => import('./commands/iptables.ts'),
  'kube-inject': () => import('./commands/kube-inject.ts'),
  label: () => import('./commands/label.ts'),
  'local-node': () => import('./commands/local-node.ts'),
  logs: () => import('./commands/logs.ts'),
  pilot: () => import('./commands/pilot.ts'),
  'port-forward': () => import('./commands/port-forward.ts'),
  proxy: () => import('./commands/proxy.ts'),
  'proxy-config': () => import('./commands/proxy-config.ts'),
  'proxy-status': () => import('./commands/proxy-status.ts'),
  scale: () => import('./commands/scale.ts'),
  status: () => import('./commands/status.ts'),
  up: () => import('./commands/up.ts'),
  validate: () => import('./commands/validate.ts'),
  version: () => import('./commands/version.ts'),
  x: () => import('./commands/x.ts'),
}

/** Other words for a command. */
const ALIASES: Record<string, string> = {
  d: 'dashboard',
  dash: 'dashboard',
  exp: 'x',
  experimental: 'x',
  pc: 'proxy-config',
  ps: 'proxy-status',
  v: 'validate',
}

/** Runs `outrigger ARGS…`; the exit code follows istioctl (0, 1 error, 64 usage, 65 bad data). */
async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('outrigger')
    .description('An Istio-compatible service mesh: data plane, control plane and tools')
    .version(VERSION, '--version', 'print the version of this program')
    .showHelpAfterError('(--help shows the usage)')
    .exitOverride()
    .enablePositionalOptions()
    .configureOutput({ outputError: (text, write) => write(withReason(text)) })
  const typed = argv.find((arg) => !arg.startsWith('-'))
  const word = typed === undefined ? undefined : (ALIASES[typed] ?? typed)
  const wanted = word !== undefined && word in COMMANDS ? [COMMANDS[word]!] : Object.values(COMMANDS)
  for (const load of wanted) (await load()).register(program)
  // What `exec` runs has flags of its own.
  await program.parseAsync(word === 'exec' ? [...argv] : withoutEquals(argv), { from: 'user' })
}

/** `-k=false` means `-k false`, as in programs of Go. */
function withoutEquals(argv: readonly string[]): string[] {
  const end = argv.indexOf('--')
  return argv.flatMap((arg, i) =>
    /^-[a-zA-Z]=/.test(arg) && (end < 0 || i < end) ? [arg.slice(0, 2), arg.slice(3)] : [arg],
  )
}

/** Of wrong usage: 64; 1 when only something is left out, as in istioctl and kubectl. */
function usageExitCode({ code, exitCode }: CommanderError): number {
  if (exitCode === 0) return 0
  return code === 'commander.missingArgument' || code === 'commander.missingMandatoryOptionValue' ? 1 : 64
}

// `outrigger get pods | head` closes our stdout early; that is no error. A full disk is one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit()
    if (stream === process.stdout) console.error(`error: cannot write the output: ${error.message}`)
    process.exit(1)
  })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = usageExitCode(error)
  else {
    console.error(`error: ${errorText(error)}`)
    if (!(error instanceof UserError) && process.env.OUTRIGGER_DEBUG) console.error(error)
    process.exitCode = error instanceof UserError ? error.exitCode : 1
  }
}

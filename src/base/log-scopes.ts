// Named parts of a program's log, each with a level of its own that can be changed while it runs.
import type { Logger } from './logger.ts'

/** Istio's words for levels, and pino's. */
const LEVELS = { none: 'silent', error: 'error', warn: 'warn', info: 'info', debug: 'debug' } as const
export type ScopeLevel = keyof typeof LEVELS

export function isScopeLevel(text: unknown): text is ScopeLevel {
  return typeof text === 'string' && Object.hasOwn(LEVELS, text)
}

interface Scope {
  readonly description: string
  readonly log: Logger
}

export class LogScopes {
  private readonly root: Logger
  private readonly scopes = new Map<string, Scope>()

  constructor(root: Logger) {
    this.root = root
  }

  /** The logger of a scope; made, at the root's level, when first asked for. */
  register(name: string, description: string): Logger {
    const known = this.scopes.get(name)
    if (known) return known.log
    const log = this.root.child({ scope: name })
    this.scopes.set(name, { description, log })
    return log
  }

  /** Every scope, by name. */
  list(): { readonly name: string; readonly description: string; readonly level: ScopeLevel }[] {
    return [...this.scopes]
      .map(([name, { description, log }]) => ({ name, description, level: scopeLevel(log.level) }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** False: there is no such scope. */
  setLevel(name: string, level: ScopeLevel): boolean {
    const scope = this.scopes.get(name)
    if (scope) scope.log.level = LEVELS[level]
    return scope !== undefined
  }
}

function scopeLevel(level: string): ScopeLevel {
  const found = (Object.keys(LEVELS) as ScopeLevel[]).find((name) => LEVELS[name] === level)
  // What pino has beside: trace says all that debug does, fatal no more than error.
  return found ?? (level === 'trace' ? 'debug' : 'error')
}

// What the Gateway API leaves to implementations to refuse: what would not fit a proxy.
import type { HttpRouteFilter, HttpRouteMatch, RouteValueMatch } from '../resources/gateway-api.ts'
import type { Problems } from '../schema.ts'
import { checkHeaderName, checkHeaderValue } from './common.ts'
import { checkRegex } from './regex.ts'

interface Match {
  readonly path?: HttpRouteMatch['path']
  readonly method?: string | { readonly type?: string; readonly service?: string; readonly method?: string }
  readonly headers?: readonly RouteValueMatch[]
  readonly queryParams?: readonly RouteValueMatch[]
}

type Filters = readonly Pick<HttpRouteFilter, 'type' | 'requestHeaderModifier' | 'responseHeaderModifier'>[] | undefined

interface Rule {
  readonly matches?: readonly Match[]
  readonly filters?: Filters
  readonly backendRefs?: readonly { readonly filters?: Filters }[]
  readonly sessionPersistence?: unknown
}

const ANSWERED_500 = 'is not supported: its requests are answered 500'

/** Rules of an HTTPRoute or GRPCRoute. */
export function validateRouteRules(rules: readonly Rule[] | undefined, problems: Problems): void {
  rules?.forEach(({ matches, filters, backendRefs, sessionPersistence }, i) => {
    const at = `spec.rules[${i}]`
    if (sessionPersistence !== undefined) {
      problems.warning(`${at}.sessionPersistence`, 'is not supported, as in Istio, and has no effect')
    }
    matches?.forEach((match, j) => {
      validateMatch(match, `${at}.matches[${j}]`, problems)
    })
    validateFilters(filters, at, problems)
    backendRefs?.forEach((backend, j) => {
      validateFilters(backend.filters, `${at}.backendRefs[${j}]`, problems)
      if (backendRefs.length === 1) return
      backend.filters?.forEach(({ type }, k) => {
        if (ofBackend.has(type)) return
        problems.warning(`${at}.backendRefs[${j}].filters[${k}].type`, `${type} on one of several ${ANSWERED_500}`)
      })
    })
  })
}

/** Filters that one of several backends can have. */
const ofBackend: ReadonlySet<string> = new Set(['RequestHeaderModifier', 'ResponseHeaderModifier', 'ExtensionRef'])

function validateMatch({ path, method, headers, queryParams }: Match, at: string, problems: Problems): void {
  const { type, value } = path ?? {}
  if (value !== undefined && type === 'RegularExpression') checkRegex(value, `${at}.path.value`, problems)
  else if (value && !value.startsWith('/')) problems.error(`${at}.path.value`, 'must begin with "/"')
  if (typeof method === 'object' && method.type === 'RegularExpression') {
    for (const name of ['service', 'method'] as const) {
      const pattern = method[name]
      if (pattern !== undefined) checkRegex(pattern, `${at}.method.${name}`, problems)
    }
  }
  for (const [name, list] of Object.entries({ headers, queryParams })) {
    list?.forEach((one, i) => {
      if (one.type === 'RegularExpression') checkRegex(one.value, `${at}.${name}[${i}].value`, problems)
    })
  }
}

function validateFilters(filters: Filters, at: string, problems: Problems): void {
  filters?.forEach((filter, i) => {
    if (filter.type === 'ExtensionRef') problems.warning(`${at}.filters[${i}].extensionRef`, ANSWERED_500)
    for (const name of ['requestHeaderModifier', 'responseHeaderModifier'] as const) {
      for (const operation of ['set', 'add'] as const) {
        filter[name]?.[operation]?.forEach((header, j) => {
          const path = `${at}.filters[${i}].${name}.${operation}[${j}]`
          checkHeaderName(header.name, `${path}.name`, problems)
          checkHeaderValue(header.value, `${path}.value`, problems)
        })
      }
    }
  })
}

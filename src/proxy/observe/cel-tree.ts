// CEL expressions that come as syntax trees (cel.expr, or google.api.expr.v1alpha1 as it was called before): conditions of RBAC and CEL matchers. What Envoy's
// builder refuses there is refused: macros that loop, and functions that it does not register.

import { createRequire } from 'node:module'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { type Expr, type Expr_Call, ExprSchema } from '../../api/gen/cel/expr/syntax_pb.js'
import { type Expr as OldExpr, ExprSchema as OldExprSchema } from '../../api/gen/google/api/expr/v1alpha1/syntax_pb.js'
import { ConfigError } from '../../base/errors.ts'
import type { LogContext } from './access-log.ts'
import { type CelProgram, withAttributes } from './cel-filter.ts'

const require = createRequire(import.meta.url)

/** A tree in its wire form, which goes to workers as it is. */
export interface CelTreeData {
  readonly expr: Uint8Array<ArrayBuffer>
}

const OPERATORS: ReadonlySet<string> = new Set([
  ...['_==_', '_!=_', '_<_', '_<=_', '_>_', '_>=_', '_&&_', '_||_', '!_', '_?_:_', '_[_]', '@in', 'in', '_in_'],
  ...['_+_', '_-_', '_*_', '_/_', '_%_', '-_', '@not_strictly_false', '__not_strictly_false__'],
])
/** Called with one argument. */
const FUNCTIONS: ReadonlySet<string> = new Set([
  ...['int', 'uint', 'double', 'bool', 'bytes', 'type', 'dyn', 'duration', 'timestamp'],
])
/** Of a moment or a duration; a time zone may be given. */
const METHODS: ReadonlySet<string> = new Set([
  ...['getDate', 'getDayOfMonth', 'getDayOfWeek', 'getDayOfYear', 'getFullYear', 'getHours'],
  ...['getMilliseconds', 'getMinutes', 'getMonth', 'getSeconds'],
])
/** In both forms, `x.contains(y)` and `contains(x, y)`: how many operands there are in all. */
const EITHER: ReadonlyMap<string, number> = new Map([
  ['size', 1],
  ['contains', 2],
  ['startsWith', 2],
  ['endsWith', 2],
  ['matches', 2],
])

function isKnown({ function: name, target, args }: Expr_Call): boolean {
  if (OPERATORS.has(name)) return target === undefined
  if (FUNCTIONS.has(name)) return target === undefined && args.length === 1
  if (METHODS.has(name)) return target !== undefined && args.length <= 1
  return EITHER.get(name) === args.length + (target === undefined ? 0 : 1)
}

/** Throws ConfigError for an expression that Envoy does not build. */
export function parseCelTree(given: Expr | OldExpr | undefined, path: string): CelTreeData {
  if (!given) throw new ConfigError(path, 'failed to create an expression: CEL expression not set')
  const bytes = given.$typeName === 'cel.expr.Expr' ? toBinary(ExprSchema, given) : toBinary(OldExprSchema, given)
  const expr = fromBinary(ExprSchema, bytes)
  walk(expr, (node) => {
    const { exprKind } = node
    if (exprKind.case === undefined) throw new ConfigError(path, 'failed to create an expression: an empty node')
    if (exprKind.case === 'comprehensionExpr')
      throw new ConfigError(path, 'failed to create an expression: Comprehension support is disabled')
    if (exprKind.case !== 'callExpr') return
    const call = exprKind.value
    if (!isKnown(call))
      throw new ConfigError(
        path,
        `failed to create an expression: No overload found in reference resolve step for ${call.function}`,
      )
    // The evaluator has these as methods only.
    if (EITHER.has(call.function) && call.target === undefined) call.target = call.args.shift()
  })
  return { expr: new Uint8Array(toBinary(ExprSchema, expr)) }
}

/** True when the expression is true of the stream; an error and another value count as false. */
export function compileCelTree(data: CelTreeData): (context: LogContext) => boolean {
  const expr = fromBinary(ExprSchema, data.expr)
  const groups = new Set<string>()
  walk(expr, ({ exprKind }) => {
    if (exprKind.case === 'identExpr') groups.add(exprKind.value.name.split('.')[0]!)
  })
  const { celEnv, plan } = require('@bufbuild/cel') as typeof import('@bufbuild/cel')
  const program = plan(celEnv(), expr as unknown as Parameters<typeof plan>[1]) as CelProgram
  const evaluate = withAttributes(program, (group) => groups.has(group))
  return (context) => evaluate(context) === true
}

/** Every node, parents first. */
function walk(expr: Expr, visit: (node: Expr) => void): void {
  visit(expr)
  for (const child of children(expr)) walk(child, visit)
}

function children({ exprKind }: Expr): Expr[] {
  switch (exprKind.case) {
    case 'selectExpr':
      return present(exprKind.value.operand)
    case 'callExpr':
      return [...present(exprKind.value.target), ...exprKind.value.args]
    case 'listExpr':
      return exprKind.value.elements
    case 'structExpr':
      return exprKind.value.entries.flatMap(({ keyKind, value }) => [
        ...(keyKind.case === 'mapKey' ? [keyKind.value] : []),
        ...present(value),
      ])
    default:
      return []
  }
}

function present(expr: Expr | undefined): Expr[] {
  return expr ? [expr] : []
}

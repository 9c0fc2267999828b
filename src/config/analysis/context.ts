// What an analyzer sees: every object of the analysed set by kind, and where it reports.

import type { Problem } from '../../base/errors.ts'
import type { Level, MessageType } from './messages.ts'

/** An object under analysis, as plain Kubernetes data. */
export interface AnalyzedObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly spec?: unknown
  readonly [field: string]: unknown
}

/** An object and where it was read. */
export interface AnalysisItem {
  readonly object: AnalyzedObject
  /** Whether the object itself names a namespace: messages about it do then too. */
  readonly hasNamespace: boolean
  /** `file:line` of a field, by its path; '' when unknown. */
  reference(path: string): string
}

/** One finding. */
export interface AnalysisMessage {
  readonly code: string
  readonly level: Level
  readonly message: string
  /** `Kind namespace/name`, or `Kind name`. */
  readonly origin: string
  readonly namespace: string
  readonly reference: string
}

type Spec = Readonly<Record<string, unknown>>

/** A resource: its item with the parts that analyzers use. */
export class Entry {
  readonly item: AnalysisItem
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly spec: Spec

  constructor(item: AnalysisItem, defaultNamespace: string) {
    this.item = item
    const { metadata, spec } = item.object
    this.name = metadata.name
    this.namespace = metadata.namespace ?? defaultNamespace
    this.labels = metadata.labels ?? {}
    this.annotations = metadata.annotations ?? {}
    this.spec = (spec ?? {}) as Spec
  }

  /** `namespace/name`. */
  get key(): string {
    return `${this.namespace}/${this.name}`
  }

  /** As messages name it: with its namespace when the object itself names one. */
  get fullName(): string {
    return this.item.hasNamespace ? this.key : this.name
  }
}

export interface AnalysisOptions {
  /** Namespace of objects that name none. */
  readonly namespace: string
  readonly istioNamespace: string
  /** mesh.rootNamespace. */
  readonly rootNamespace: string
  /** defaultConfig.proxyMetadata of the mesh configuration. */
  readonly proxyMetadata: Readonly<Record<string, string>>
  /** defaultConfig.image.imageType of the mesh configuration. */
  readonly imageType?: string
}

/** All objects, and the messages so far. */
export class AnalysisContext {
  readonly options: AnalysisOptions
  readonly messages: AnalysisMessage[] = []
  private readonly byKind = new Map<string, Entry[]>()

  constructor(items: readonly AnalysisItem[], options: AnalysisOptions) {
    this.options = options
    for (const item of items) {
      const { apiVersion, kind } = item.object
      const slash = apiVersion.indexOf('/')
      const group = slash < 0 ? '' : apiVersion.slice(0, slash)
      const key = group === '' ? kind : `${kind}.${group}`
      const list = this.byKind.get(key)
      const entry = new Entry(item, options.namespace)
      if (list) list.push(entry)
      else this.byKind.set(key, [entry])
    }
  }

  /** Objects of a kind: `Service`, `Deployment.apps`, `VirtualService.networking.istio.io`. */
  all(kind: string): readonly Entry[] {
    return this.byKind.get(kind) ?? []
  }

  /** Istio kinds by their group's first word: `istio('VirtualService', 'networking')`. */
  istio(kind: string, group: 'networking' | 'security' | 'telemetry' | 'extensions'): readonly Entry[] {
    return this.all(`${kind}.${group}.istio.io`)
  }

  /** Every object. */
  everything(): Entry[] {
    return [...this.byKind.values()].flat()
  }

  /** `path` is the field the message is about, for its file and line. */
  report(type: MessageType, entry: Entry, path: string, ...args: readonly unknown[]): void {
    this.messages.push({
      code: type.code,
      level: type.level,
      message: type.text(...args),
      origin: `${entry.item.object.kind} ${entry.fullName}`,
      namespace: entry.namespace,
      reference: entry.item.reference(path),
    })
  }

  /** A problem that parsing found. */
  reportProblem(type: MessageType, entry: Entry, problem: Problem): void {
    const where = problem.path ? `${problem.path}: ` : ''
    this.report(type, entry, problem.path, `${where}${problem.message}`)
  }
}

/** One check over the whole set. */
export interface Analyzer {
  /** istioctl's name, e.g. `virtualservice.GatewayAnalyzer`. */
  readonly name: string
  readonly description: string
  run(context: AnalysisContext): void
}

// Which routes can match a path, without asking each: a radix trie over the literal paths and prefixes of a virtual
// host. First match in configured order is kept: entries carry their position, and a lookup asks candidates for the
// lowest position that also satisfies the rest of its conditions. A thousand prefix routes cost a walk down one path.

/** Literal = the whole path, or a prefix of it, or a prefix that ends at a segment. */
export type LiteralKind = 'path' | 'prefix' | 'path_separated_prefix'

interface Entry {
  readonly position: number
  readonly kind: LiteralKind
}

class Node {
  /** Characters on the edge into this node. */
  label: string
  /** By the first character of their label. */
  readonly children = new Map<number, Node>()
  /** Ascending by position. */
  entries: Entry[] = []
  constructor(label: string) {
    this.label = label
  }
}

/** Case-sensitive literals; build it once, in configured order. */
export class PathIndex {
  private readonly root = new Node('')

  add(literal: string, kind: LiteralKind, position: number): void {
    let node = this.root
    let rest = literal
    while (rest !== '') {
      const child = node.children.get(rest.charCodeAt(0))
      if (!child) {
        const leaf = new Node(rest)
        node.children.set(rest.charCodeAt(0), leaf)
        node = leaf
        rest = ''
        break
      }
      const shared = commonLength(child.label, rest)
      if (shared < child.label.length) split(node, child, shared)
      node = node.children.get(rest.charCodeAt(0))!
      rest = rest.slice(shared)
    }
    node.entries.push({ position, kind })
  }

  /** The lowest accepted position below `limit`, or `limit`. `path` has no query. */
  find(path: string, limit: number, candidates: PathCandidates): number {
    let best = limit
    let node = this.root
    let at = 0
    for (;;) {
      const entries = node.entries
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i]!
        if (entry.position >= best) break
        if (!ends(entry.kind, path, at)) continue
        if (candidates.accepts(entry.position)) {
          best = entry.position
          break
        }
      }
      if (at === path.length) return best
      const child = node.children.get(path.charCodeAt(at))
      if (!child || !path.startsWith(child.label, at)) return best
      at += child.label.length
      node = child
    }
  }
}

/** Decides whether the route at a position matches in everything but its literal path. */
export interface PathCandidates {
  accepts(position: number): boolean
}

function ends(kind: LiteralKind, path: string, at: number): boolean {
  if (kind === 'prefix') return true
  if (at === path.length) return true
  return kind === 'path_separated_prefix' && path.charCodeAt(at) === 47 /* / */
}

function commonLength(a: string, b: string): number {
  const most = Math.min(a.length, b.length)
  let i = 0
  while (i < most && a.charCodeAt(i) === b.charCodeAt(i)) i++
  return i
}

function split(parent: Node, child: Node, at: number): void {
  const upper = new Node(child.label.slice(0, at))
  parent.children.set(upper.label.charCodeAt(0), upper)
  child.label = child.label.slice(at)
  upper.children.set(child.label.charCodeAt(0), child)
}

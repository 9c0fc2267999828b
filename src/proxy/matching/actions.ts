// Actions of a parsed matching tree: turned into others, looked at.

import type { MatcherData, OnMatchData, TreeData } from './config.ts'

/** The same tree with every action replaced by what `change` makes of it. */
export function mapActions<A, B>(data: MatcherData<A>, change: (action: A) => B): MatcherData<B> {
  const onMatch = (one: OnMatchData<A>): OnMatchData<B> =>
    one.kind === 'action'
      ? { kind: 'action', action: change(one.action) }
      : { kind: 'matcher', matcher: mapActions(one.matcher, change) }
  return {
    tree: data.tree === null ? null : mapTree(data.tree, onMatch),
    onNoMatch: data.onNoMatch === null ? null : onMatch(data.onNoMatch),
  }
}

function mapTree<A, B>(tree: TreeData<A>, change: (onMatch: OnMatchData<A>) => OnMatchData<B>): TreeData<B> {
  switch (tree.kind) {
    case 'list':
      return { kind: 'list', entries: tree.entries.map((entry) => ({ ...entry, onMatch: change(entry.onMatch) })) }
    case 'ip':
      return { ...tree, entries: tree.entries.map((entry) => ({ ...entry, onMatch: change(entry.onMatch) })) }
    default:
      return { ...tree, entries: tree.entries.map((entry) => ({ ...entry, onMatch: change(entry.onMatch) })) }
  }
}

/** True when some action of the tree passes `test`. */
export function someAction<A>(data: MatcherData<A>, test: (action: A) => boolean): boolean {
  let found = false
  mapActions(data, (action) => {
    found ||= test(action)
  })
  return found
}

// Which resources of one type somebody uses: what to subscribe to, and what to let go.

/** Names by their users (versions of listeners). */
export class WantedNames {
  private readonly users = new Map<object, ReadonlySet<string>>()
  private wanted = new Set<string>()

  /** What `user` names from now on; an empty set lets go. Says which names are new and which nobody uses any more. */
  use(user: object, names: ReadonlySet<string>): { readonly fresh: string[]; readonly gone: string[] } {
    if (names.size === 0) this.users.delete(user)
    else this.users.set(user, names)
    const wanted = new Set<string>()
    for (const set of this.users.values()) for (const name of set) wanted.add(name)
    const before = this.wanted
    this.wanted = wanted
    return {
      fresh: [...wanted].filter((name) => !before.has(name)),
      gone: [...before].filter((name) => !wanted.has(name)),
    }
  }
}

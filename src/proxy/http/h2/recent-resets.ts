// Streams we reset lately: frames for them were on their way and are skipped, not faults (RFC 9113 §5.1).

const MAX_REMEMBERED_RESETS = 1000

export class RecentResets {
  private readonly ids = new Set<number>()

  has(streamId: number): boolean {
    return this.ids.has(streamId)
  }

  add(streamId: number): void {
    if (this.ids.size >= MAX_REMEMBERED_RESETS) {
      for (const oldest of this.ids) {
        this.ids.delete(oldest)
        break
      }
    }
    this.ids.add(streamId)
  }
}

// The header lines that have come before, and what usually comes after each.
//
// Peers send their lines in the same order, too: the line after a known one is first compared with the one that followed
// it last time. When it is the same, its end is known and it holds nothing forbidden, so it need not be scanned.

import { ByteCache, PLACES } from './byte-cache.ts'

export interface Line {
  readonly name: string
  readonly value: string
}

/** Of a thread. Only lines of heads without forbidden bytes are kept, one line each, without the line end. */
export const knownLines = new ByteCache<Line>()

/** By place: where the line is that followed last; -1 = not known. */
const followers = new Int16Array(PLACES).fill(-1)

export function followerOf(place: number): number {
  return followers[place]!
}

export function noteFollower(place: number, follower: number): void {
  followers[place] = follower
}

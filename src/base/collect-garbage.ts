// V8's garbage collector, to be run by hand.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (options: { type: 'major' | 'minor'; execution: 'sync'; flavor?: 'regular' | 'last-resort' }) => void

let collect: Collect | undefined

/** Runs a collection of the given kind now. `last-resort` gives pages back, too. */
export const collectGarbage: Collect = (options) => {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as Collect
  }
  collect(options)
}

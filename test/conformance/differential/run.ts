// npm run istiod:differential -- [--seed N] [--cases M] [--topics a,b] [--out DIR]: generated meshes given to our pilot and to
// real istiod; what they answer every proxy must be equal, field by field. A difference is made small and printed, and its
// input is written to a folder of the goldens' form. With --changes each mesh changes while proxies follow our pilot over
// delta ADS: what they then hold must be what new ones are told, and that what istiod tells.
import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { JsonValue } from '@bufbuild/protobuf'
import { stringify } from 'yaml'
import { errorText } from '../../../src/base/errors.ts'
import { type Answers, answersOf } from '../ads.ts'
import type { ProxyDescription } from '../pilot.ts'
import { statusDifferences } from '../statuses.ts'
import { type Difference, differences, type Found } from './difference.ts'
import { differencesFollowing } from './following.ts'
import { type Case, generateCase, TOPICS } from './generate/case.ts'
import { changed } from './generate/change.ts'
import { caseYaml, type HalfPatched, ISTIOD, IstiodPanic, istiodExists, RefusedByIstiod, withIstiod } from './istiod.ts'
import { acceptable, load, ourAnswers } from './ours.ts'
import { shrink } from './shrink.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    cases: { type: 'string', default: '50' },
    topics: { type: 'string', default: TOPICS.join(',') },
    out: { type: 'string', default: join(tmpdir(), 'istiod-differential') },
    'shrink-seconds': { type: 'string', default: '25' },
    'no-shrink': { type: 'boolean', default: false },
    changes: { type: 'boolean', default: false },
  },
})

/** Cases of which istiod patched some answers by half: those are not compared. */
let halfPatchedCases = 0

/** How often a case that differs is given to an istiod started anew: what it decides by chance may come out as ours. */
const TRIES = 5

/** Every difference of a case. */
async function differencesOf(input: Case): Promise<Found[]> {
  const { push, statuses } = load(input)
  const theirs = new Map<ProxyDescription, Answers[]>(input.proxies.map((proxy) => [proxy, []]))
  let ofStatuses: Found[] = []
  let found: Found[] = []
  const halfPatched = new Set<HalfPatched>()
  let asked = input.proxies
  for (let tries = 0; asked.length > 0 && tries < TRIES; tries++) {
    const told = await askIstiod(input, asked)
    if (typeof told === 'string') {
      const signature = `refused by istiod alone: ${told.replace(/\d+|"[^"]*"/g, '…')}`
      return [{ proxy: input.proxies[0]!, difference: { signature, lines: [told] } }]
    }
    for (const what of told.halfPatched) halfPatched.add(what)
    if (tries === 0 && told.statuses) {
      ofStatuses = statusDifferences(input.objects, statuses, told.statuses).map(({ key, lines }) => {
        const place = /^(.*?): got /.exec(lines[0]!)?.[1] ?? ''
        const signature = `status ${key.split('/')[0]} ${place.replace(/\[[^\]]*\]/g, '[]')}`
        return { proxy: input.proxies[0]!, difference: { signature, lines: lines.map((line) => `${key} ${line}`) } }
      })
    }
    found = []
    for (const [proxy, answer] of told.answers) {
      const all = theirs.get(proxy)!
      all.push(answer)
      for (const difference of differences(await ourAnswers(proxy, push), all, proxy.type, halfPatched))
        found.push({ proxy, difference })
    }
    asked = input.proxies.filter((proxy) => found.some((one) => one.proxy === proxy))
  }
  if (halfPatched.size > 0) halfPatchedCases++
  return [...found, ...ofStatuses]
}

interface Told {
  readonly halfPatched: ReadonlySet<HalfPatched>
  readonly answers: ReadonlyMap<ProxyDescription, Answers>
  /** Of the objects of the Gateway API, when there are any. */
  readonly statuses: { [key: string]: JsonValue } | null
}

/** What istiod answers, or why it refuses the case. */
async function askIstiod(input: Case, proxies: readonly ProxyDescription[]): Promise<Told | string> {
  try {
    return await withIstiod(input, async ({ address, ask, halfPatched }) => {
      const answers = new Map<ProxyDescription, Answers>()
      for (const proxy of proxies) answers.set(proxy, await answersOf(address, proxy))
      const hasStatuses = input.objects.some(({ kind }) => kind === 'GatewayClass')
      return {
        answers,
        halfPatched,
        statuses: hasStatuses ? ((await ask('statuses')) as { [key: string]: JsonValue }) : null,
      }
    })
  } catch (error) {
    if (error instanceof RefusedByIstiod) return error.message
    throw error
  }
}

async function made(input: Case, { proxy, difference }: Found): Promise<Case> {
  const alone = { ...input, proxies: [proxy] }
  const stillDiffers = async (smaller: Case): Promise<boolean> => {
    try {
      if (load(smaller).refused.size > 0) return false
      return (await differencesOf(smaller)).some((found) => found.difference.signature === difference.signature)
    } catch {
      return false // It cannot be served without what was left out.
    }
  }
  return shrink(alone, stillDiffers, Date.now() + Number(values['shrink-seconds']) * 1000)
}

async function main(): Promise<number> {
  if (!istiodExists() && !values.changes) {
    console.log(
      `skipped: stock istiod is not built (${ISTIOD}): node scripts/build-istiod.mjs, or name it by OUTRIGGER_ISTIOD`,
    )
    return 0
  }
  const first = Number(values.seed)
  const topics = values.topics.split(',')
  const known = new Map<string, Set<number>>()
  const refusals = new Map<string, number>()
  let clean = 0
  let failed = 0
  let panicked = 0
  let objects = 0
  for (let seed = first; seed < first + Number(values.cases); seed++) {
    const before = acceptable(generateCase(seed, topics), refusals)
    const input = values.changes ? acceptable({ ...before, objects: changed(before, seed, topics) }, refusals) : before
    objects += input.objects.length
    let found: Found[]
    try {
      found = values.changes ? await differencesFollowing(before, input) : []
      if (istiodExists()) found.push(...(await differencesOf(input)))
    } catch (error) {
      console.log(`seed ${seed}: ${errorText(error)}`)
      // No answer to compare with: nobody's fault here.
      if (error instanceof IstiodPanic) panicked++
      else failed++
      if (process.env.DEBUG) console.log(error)
      continue
    }
    if (found.length === 0) clean++
    for (const one of found) {
      const { signature } = one.difference
      const seeds = known.get(signature)
      if (seeds) {
        seeds.add(seed)
        continue
      }
      known.set(signature, new Set([seed]))
      console.log(`seed ${seed}, ${one.proxy.name}: ${signature}`)
      const asItIs = values['no-shrink'] || signature.startsWith('after a change')
      const smallest = asItIs ? input : await made(input, one)
      const [shown] = asItIs
        ? [one]
        : (await differencesOf(smallest)).filter((other) => other.difference.signature === signature)
      for (const line of (shown ?? one).difference.lines.slice(0, 4)) console.log(`    ${line}`)
      if (!asItIs) write(smallest, (shown ?? one).difference, known.size, seed)
    }
  }
  const total = Number(values.cases)
  console.log(
    `${clean} of ${total} cases equal, ${known.size} kinds of difference, ${failed} not served, ${panicked} that end istiod, ${objects} objects`,
  )
  for (const [signature, seeds] of [...known].sort((a, b) => b[1].size - a[1].size))
    console.log(`  ${seeds.size} cases: ${signature} (${[...seeds].slice(0, 8).join(', ')})`)
  if (halfPatchedCases > 0)
    console.log(`  of ${halfPatchedCases} some answers were half patched by istiod: not compared`)
  for (const [reason, count] of [...refusals].sort((a, b) => b[1] - a[1]).slice(0, 12))
    console.log(`  refused ${count}: ${reason}`)
  return clean + panicked === total ? 0 : 1
}

function write(smallest: Case, difference: Difference, number: number, seed: number): void {
  const folder = join(values.out, `${seed}-${number}`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'input.yaml'), caseYaml(smallest))
  console.log(`    ${folder}`)
  if (Object.keys(smallest.mesh).length > 0) writeFileSync(join(folder, 'mesh.yaml'), stringify(smallest.mesh))
  if (Object.keys(smallest.networks).length > 0)
    writeFileSync(join(folder, 'networks.yaml'), stringify(smallest.networks))
  writeFileSync(join(folder, 'proxies.json'), `${JSON.stringify(smallest.proxies, null, 2)}\n`)
  writeFileSync(join(folder, 'difference.txt'), `${difference.signature}\n${difference.lines.join('\n')}\n`)
}

process.exit(await main())

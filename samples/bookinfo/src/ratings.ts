import type { IncomingMessage } from 'node:http'
import { idAfter, sendJson, serve } from './service.ts'

type Ratings = Record<string, number>

/** Ratings that were posted, by product; all others have the first ratings of the shop. */
const posted = new Map<number, Ratings>()
const FIRST_RATINGS: Ratings = { Reviewer1: 5, Reviewer2: 4 }
const MAX_BODY_BYTES = 16_384

serve('ratings', async (request, response, url) => {
  const id = idAfter('/ratings/', url.pathname)
  if (id === undefined) return sendJson(response, 400, { error: 'please provide numeric product ID' })
  if (request.method === 'POST') {
    const ratings = await readRatings(request)
    if (!ratings) return sendJson(response, 400, { error: 'please provide valid ratings JSON' })
    posted.set(id, ratings)
  }
  sendJson(response, 200, { id, ratings: posted.get(id) ?? FIRST_RATINGS })
})

async function readRatings(request: IncomingMessage): Promise<Ratings | undefined> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk
    if (text.length > MAX_BODY_BYTES) return undefined
  }
  try {
    const value: unknown = JSON.parse(text)
    const valid =
      typeof value === 'object' && value !== null && Object.values(value).every((stars) => typeof stars === 'number')
    return valid ? (value as Ratings) : undefined
  } catch {
    return undefined
  }
}

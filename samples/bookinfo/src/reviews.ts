// Three versions in one program: v1 without ratings, v2 with black stars, v3 with red ones.
import { hostname } from 'node:os'
import { getJson, idAfter, passedOnHeaders, sendJson, serve, serviceUrl } from './service.ts'

const VERSION = process.env.SERVICE_VERSION ?? 'v1'
const ENABLE_RATINGS = process.env.ENABLE_RATINGS === 'true'
const STAR_COLOR = process.env.STAR_COLOR ?? 'black'
/** Version v1 never calls ratings; v2 and v3 give them this long, which is more than the product page gives us. */
const RATINGS_TIMEOUT_MS = 10_000

const REVIEWS = [
  {
    reviewer: 'Reviewer1',
    text: 'Mistaken identities, a shrew of an abbess and two servants with one name: I laughed on every page.',
  },
  { reviewer: 'Reviewer2', text: 'Not his deepest play, but no other moves this fast. Best read aloud, in company.' },
]

type Rating = { readonly stars: number; readonly color: string } | { readonly error: string }

serve('reviews', async (request, response, url) => {
  const id = idAfter('/reviews/', url.pathname)
  if (id === undefined) return sendJson(response, 400, { error: 'please provide numeric product id' })
  const ratings = ENABLE_RATINGS ? await fetchRatings(id, passedOnHeaders(request)) : undefined
  sendJson(response, 200, {
    id: String(id),
    podname: hostname(),
    clustername: process.env.CLUSTER_NAME ?? null,
    version: VERSION,
    reviews: REVIEWS.map((review) => ({ ...review, ...(ratings ? { rating: ratings(review.reviewer) } : {}) })),
  })
})

/** The rating of each reviewer, or for all of them that there is none to be had. */
async function fetchRatings(id: number, headers: Record<string, string>): Promise<(reviewer: string) => Rating> {
  try {
    const { status, body } = await getJson(`${serviceUrl('ratings')}/ratings/${id}`, headers, RATINGS_TIMEOUT_MS)
    const ratings = (body as { ratings?: Record<string, number> } | undefined)?.ratings
    if (status === 200 && ratings) return (reviewer) => ({ stars: ratings[reviewer] ?? 0, color: STAR_COLOR })
    console.error(`reviews: ratings answered ${status}`)
  } catch (error) {
    console.error(`reviews: ${String(error)}`)
  }
  return () => ({ error: 'Ratings service is currently unavailable' })
}

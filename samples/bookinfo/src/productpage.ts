// The page people open. It asks details and reviews, and says what it got: which version, how fast, or why not.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Details, type Outcome, productPage, type Reviews } from './page.ts'
import { type Answer, getJson, idAfter, passedOnHeaders, sendJson, serve, serviceUrl } from './service.ts'

const PRODUCTS = [{ id: 0, title: 'The Comedy of Errors', description: 'Two pairs of twins, one city, one day.' }]
const DETAILS_TIMEOUT_MS = 3_000
/** Reviews are tried twice, three seconds each: a ratings delay of seven seconds shows as an error here. */
const REVIEWS_TIMEOUT_MS = 3_000
const REVIEWS_ATTEMPTS = 2
const COOKIE = 'bookinfo-user'

serve('productpage', async (request, response, url) => {
  const user = signedInUser(request)
  if (url.pathname === '/') return redirect(response, '/productpage')
  if (url.pathname === '/productpage') return await showPage(request, response, user)
  if (url.pathname === '/login' && request.method === 'POST') return await signIn(request, response)
  if (url.pathname === '/logout') return redirect(response, '/productpage', `${COOKIE}=; Max-Age=0; Path=/`)
  if (url.pathname.startsWith('/api/v1/products'))
    return await answerApi(url.pathname, headersFor(request, user), response)
  sendJson(response, 404, { error: 'not found' })
})

async function showPage(request: IncomingMessage, response: ServerResponse, user: string | undefined): Promise<void> {
  const headers = headersFor(request, user)
  const [details, reviews] = await Promise.all([fetchDetails(0, headers), fetchReviews(0, headers)])
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
  response.end(
    productPage({ product: PRODUCTS[0]!, user, details: shown<Details>(details), reviews: shown<Reviews>(reviews) }),
  )
}

/** The product page's own JSON interface. */
async function answerApi(path: string, headers: Record<string, string>, response: ServerResponse): Promise<void> {
  if (path === '/api/v1/products') return sendJson(response, 200, PRODUCTS)
  const [, idText, part] = /^\/api\/v1\/products\/(\d+)(?:\/(reviews|ratings))?$/.exec(path) ?? []
  if (idText === undefined) return sendJson(response, 404, { error: 'not found' })
  const id = idAfter('', idText)!
  const answer =
    part === 'reviews'
      ? await fetchReviews(id, headers)
      : part === 'ratings'
        ? await fetchRatings(id, headers)
        : await fetchDetails(id, headers)
  if (!answer) return sendJson(response, 500, { error: `${part ?? 'details'} are currently unavailable for this book` })
  sendJson(response, answer.status, answer.body ?? { error: 'no JSON in the answer' })
}

const fetchDetails = (id: number, headers: Record<string, string>) =>
  attempt(`${serviceUrl('details')}/details/${id}`, headers, DETAILS_TIMEOUT_MS)
const fetchRatings = (id: number, headers: Record<string, string>) =>
  attempt(`${serviceUrl('ratings')}/ratings/${id}`, headers, DETAILS_TIMEOUT_MS)

async function fetchReviews(id: number, headers: Record<string, string>): Promise<Answer | undefined> {
  let answer: Answer | undefined
  for (let tries = 0; tries < REVIEWS_ATTEMPTS && answer?.status !== 200; tries++) {
    answer = await attempt(`${serviceUrl('reviews')}/reviews/${id}`, headers, REVIEWS_TIMEOUT_MS)
  }
  return answer
}

async function attempt(url: string, headers: Record<string, string>, timeoutMs: number): Promise<Answer | undefined> {
  try {
    return await getJson(url, headers, timeoutMs)
  } catch (error) {
    console.error(`productpage: ${String(error)}`)
    return undefined
  }
}

function shown<T>(answer: Answer | undefined): Outcome<T> {
  if (!answer) return { error: 'no answer in time' }
  if (answer.status !== 200 || answer.body === undefined) return { error: `answered ${answer.status}` }
  return { value: answer.body as T, milliseconds: answer.milliseconds }
}

/** Headers of the calls this request causes; the signed-in user travels as `end-user`, which routes can match. */
function headersFor(request: IncomingMessage, user: string | undefined): Record<string, string> {
  const headers = passedOnHeaders(request)
  return user === undefined ? headers : { ...headers, 'end-user': user }
}

function signedInUser(request: IncomingMessage): string | undefined {
  const pair = request.headers.cookie?.split(/;\s*/).find((cookie) => cookie.startsWith(`${COOKIE}=`))
  const user = pair && decodeURIComponent(pair.slice(COOKIE.length + 1))
  return user && /^[\w.@-]{1,64}$/.test(user) ? user : undefined
}

async function signIn(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let form = ''
  for await (const chunk of request.setEncoding('utf8') as AsyncIterable<string>) {
    form += chunk
    if (form.length > 4096) return sendJson(response, 413, { error: 'form too large' })
  }
  const user = new URLSearchParams(form).get('username') ?? ''
  redirect(response, '/productpage', `${COOKIE}=${encodeURIComponent(user)}; Path=/; HttpOnly; SameSite=Lax`)
}

function redirect(response: ServerResponse, location: string, cookie?: string): void {
  response.writeHead(302, { location, ...(cookie ? { 'set-cookie': cookie } : {}) })
  response.end()
}

// The four programs as one application, without a mesh.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const children: ChildProcess[] = []

/** Starts a program on a free port and resolves with that port. */
function start(program: string, env: Record<string, string> = {}): Promise<string> {
  const file = fileURLToPath(new URL(`src/${program}.ts`, import.meta.url))
  const child = spawn(process.execPath, [file, '0'], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  children.push(child)
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${program} ended with ${code}`)))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const port = /listens on (\d+)/.exec(text)?.[1]
      if (port) resolve(port)
    })
  })
}

/** Stands for ratings: answers as told and keeps the headers it was called with. */
let ratingsStatus = 200
let ratingsSaw: http.IncomingHttpHeaders = {}
const fakeRatings = http.createServer((request, response) => {
  ratingsSaw = request.headers
  response.writeHead(ratingsStatus, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ id: 0, ratings: { Reviewer1: 5, Reviewer2: 4 } }))
})

let page: string
let reviewsV3: string
before(async () => {
  await new Promise<void>((resolve) => fakeRatings.listen(0, '127.0.0.1', resolve))
  const ratings = {
    RATINGS_HOSTNAME: '127.0.0.1',
    RATINGS_SERVICE_PORT: String((fakeRatings.address() as AddressInfo).port),
  }
  const [details, reviews] = await Promise.all([
    start('details'),
    start('reviews', { ...ratings, SERVICE_VERSION: 'v3', ENABLE_RATINGS: 'true', STAR_COLOR: 'red' }),
  ])
  reviewsV3 = reviews
  page = await start('productpage', {
    ...ratings,
    ...{
      DETAILS_HOSTNAME: '127.0.0.1',
      DETAILS_SERVICE_PORT: details,
      REVIEWS_HOSTNAME: '127.0.0.1',
      REVIEWS_SERVICE_PORT: reviews,
    },
  })
})
after(() => {
  for (const child of children) child.kill('SIGKILL')
  fakeRatings.closeAllConnections()
  fakeRatings.close()
})

const get = (path: string, headers: Record<string, string> = {}) =>
  fetch(`http://127.0.0.1:${page}${path}`, { headers, redirect: 'manual' })

test('the page shows details, reviews, their version and red stars', async () => {
  const html = await (await get('/productpage')).text()
  assert.match(html, /<h2 class="small">Book Details/)
  assert.match(html, /William Shakespeare/)
  assert.match(html, /reviews v3/)
  assert.match(html, /class="stars red"[^>]*>★★★★★</)
})

test('trace headers and the user reach ratings through all hops', async () => {
  const headers = {
    'x-request-id': 'r1',
    traceparent: '00-1-2-01',
    'x-b3-traceid': 'b',
    cookie: 'bookinfo-user=jason',
    'x-other': 'no',
  }
  await get('/productpage', headers)
  assert.equal(ratingsSaw['x-request-id'], 'r1')
  assert.equal(ratingsSaw.traceparent, '00-1-2-01')
  assert.equal(ratingsSaw['x-b3-traceid'], 'b')
  assert.equal(ratingsSaw['end-user'], 'jason')
  assert.equal(ratingsSaw['x-other'], undefined)
})

test('failing ratings are said in the reviews, which stay', async () => {
  ratingsStatus = 500
  const body = (await (await fetch(`http://127.0.0.1:${reviewsV3}/reviews/0`)).json()) as {
    reviews: { rating: unknown }[]
  }
  assert.deepEqual(body.reviews[0]!.rating, { error: 'Ratings service is currently unavailable' })
  assert.match(await (await get('/productpage')).text(), /Ratings service is currently unavailable/)
  ratingsStatus = 200
})

test('signing in sets the user, signing out forgets it, and names are escaped', async () => {
  const form = new URLSearchParams({ username: 'jason' })
  const login = await fetch(`http://127.0.0.1:${page}/login`, { method: 'POST', body: form, redirect: 'manual' })
  const cookie = login.headers.get('set-cookie')!.split(';')[0]!
  assert.match(await (await get('/productpage', { cookie })).text(), /Signed in as <b>jason<\/b>/)
  assert.doesNotMatch(await (await get('/productpage', { cookie: 'bookinfo-user=%3Cscript%3E' })).text(), /<script>/)
  assert.match((await get('/logout')).headers.get('set-cookie')!, /Max-Age=0/)
})

test('the JSON interface has products, details, reviews and ratings', async () => {
  const json = async (path: string) => (await get(path)).json()
  assert.equal(((await json('/api/v1/products')) as unknown[]).length, 1)
  assert.equal(((await json('/api/v1/products/0')) as { author: string }).author, 'William Shakespeare')
  assert.equal(((await json('/api/v1/products/0/reviews')) as { version: string }).version, 'v3')
  assert.deepEqual(((await json('/api/v1/products/0/ratings')) as { ratings: unknown }).ratings, {
    Reviewer1: 5,
    Reviewer2: 4,
  })
  assert.equal((await get('/api/v1/products/x')).status, 404)
})

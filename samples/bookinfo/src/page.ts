// The product page as HTML. Everything that comes from elsewhere is escaped.

export interface Details {
  readonly author: string
  readonly year: number
  readonly type: string
  readonly pages: number
  readonly publisher: string
  readonly language: string
  readonly 'ISBN-10': string
  readonly 'ISBN-13': string
}

export interface Reviews {
  readonly podname?: string
  readonly version?: string
  readonly reviews: readonly {
    readonly reviewer: string
    readonly text: string
    readonly rating?: { readonly stars?: number; readonly color?: string; readonly error?: string }
  }[]
}

export type Outcome<T> = { readonly value: T; readonly milliseconds: number } | { readonly error: string }

export interface PageData {
  readonly product: { readonly title: string; readonly description: string }
  readonly user: string | undefined
  readonly details: Outcome<Details>
  readonly reviews: Outcome<Reviews>
}

export function productPage({ product, user, details, reviews }: PageData): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(product.title)} · Bookinfo</title>
<style>${STYLE}</style>
</head>
<body>
<header>
  <a class="brand" href="/productpage">Book<b>info</b></a>
  ${user === undefined ? SIGN_IN : `<form action="/logout"><span>Signed in as <b>${escapeHtml(user)}</b></span><button>Sign out</button></form>`}
</header>
<main>
  <section class="hero">
    <div class="cover" aria-hidden="true"><span>The<br>Comedy<br>of<br>Errors</span><i>W. Shakespeare</i></div>
    <div>
      <p class="kicker">Book of the day</p>
      <h1>${escapeHtml(product.title)}</h1>
      <p class="lead">${escapeHtml(product.description)}</p>
      ${detailsBlock(details)}
    </div>
  </section>
  ${reviewsBlock(reviews)}
</main>
<footer>Every call behind this page went through two sidecars. Reload it to meet another version of reviews.</footer>
</body>
</html>
`
}

const SIGN_IN = `<form action="/login" method="post"><input name="username" placeholder="user name" aria-label="user name" required pattern="[\\w.@\\-]{1,64}"><button>Sign in</button></form>`

function detailsBlock(details: Outcome<Details>): string {
  if ('error' in details) return failure('Book details', details.error)
  const { value } = details
  const rows: [string, unknown][] = [
    ['Author', value.author],
    ['Year', value.year],
    ['Type', value.type],
    ['Pages', value.pages],
    ['Publisher', value.publisher],
    ['Language', value.language],
    ['ISBN-10', value['ISBN-10']],
    ['ISBN-13', value['ISBN-13']],
  ]
  const list = rows.map(([name, text]) => `<div><dt>${name}</dt><dd>${escapeHtml(text)}</dd></div>`).join('')
  return `<h2 class="small">Book Details ${timing('details', details.milliseconds)}</h2><dl>${list}</dl>`
}

function reviewsBlock(reviews: Outcome<Reviews>): string {
  if ('error' in reviews) return `<section>${failure('Product reviews', reviews.error)}</section>`
  const { version, podname, reviews: list } = reviews.value
  const badge = version ? `<span class="badge">reviews ${escapeHtml(version)}</span>` : ''
  const cards = list.map(
    ({ reviewer, text, rating }) =>
      `<article><blockquote>${escapeHtml(text)}</blockquote><p class="by">${escapeHtml(reviewer)} ${ratingBlock(rating)}</p></article>`,
  )
  return `<section>
  <h2>Book Reviews ${badge} ${timing('reviews', reviews.milliseconds)}</h2>
  <div class="cards">${cards.join('')}</div>
  ${podname ? `<p class="served">served by pod <code>${escapeHtml(podname)}</code></p>` : ''}
</section>`
}

function ratingBlock(rating: Reviews['reviews'][number]['rating']): string {
  if (!rating) return ''
  if (rating.error !== undefined) return `<span class="unrated">${escapeHtml(rating.error)}</span>`
  const stars = Math.max(0, Math.min(5, Math.round(rating.stars ?? 0)))
  const color = rating.color === 'red' ? 'red' : 'black'
  return `<span class="stars ${color}" role="img" aria-label="${stars} of 5 stars">${'★'.repeat(stars)}${'☆'.repeat(5 - stars)}</span>`
}

function failure(what: string, why: string): string {
  return `<div class="failure"><b>Error fetching ${escapeHtml(what.toLowerCase())}</b><p>Sorry, ${escapeHtml(what.toLowerCase())} are currently unavailable for this book.</p><small>${escapeHtml(why)}</small></div>`
}

function timing(service: string, milliseconds: number): string {
  return `<span class="time" title="time to the answer of ${service}">${milliseconds} ms</span>`
}

function escapeHtml(value: unknown): string {
  return String(value).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

const STYLE = `
:root{color-scheme:light dark;--ink:#1d2330;--soft:#667085;--paper:#fbfaf7;--card:#fff;--line:#e6e2d8;--accent:#8a2432}
@media(prefers-color-scheme:dark){:root{--ink:#ece9e2;--soft:#a1a7b3;--paper:#15171c;--card:#1d2027;--line:#31353f;--accent:#e58a95}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 Georgia,'Times New Roman',serif}
header,main,footer{max-width:60rem;margin:auto;padding:1rem 1.5rem}
header{display:flex;justify-content:space-between;align-items:center;border-bottom:1px solid var(--line)}
.brand{font-size:1.3rem;color:inherit;text-decoration:none;letter-spacing:.02em}.brand b{color:var(--accent)}
form{display:flex;gap:.5rem;align-items:center;font:.9rem/1.4 system-ui,sans-serif}
input,button{font:inherit;padding:.35rem .7rem;border:1px solid var(--line);border-radius:.4rem;background:var(--card);color:inherit}
button{cursor:pointer;background:var(--accent);border-color:var(--accent);color:var(--paper)}
.hero{display:grid;grid-template-columns:12rem 1fr;gap:2.5rem;padding:2.5rem 0}
@media(max-width:40rem){.hero{grid-template-columns:1fr}}
.cover{height:17rem;width:12rem;padding:1.5rem 1.2rem;border-radius:.2rem .6rem .6rem .2rem;color:#f6e9c9;background:linear-gradient(135deg,#8a2432,#4d1220);box-shadow:inset .5rem 0 0 #0003,0 1rem 2rem #0003;display:flex;flex-direction:column;justify-content:space-between}
.cover span{font-size:1.55rem;line-height:1.15}.cover i{font-size:.85rem;opacity:.85}
.kicker{margin:0;color:var(--accent);font:600 .75rem/1 system-ui,sans-serif;letter-spacing:.12em;text-transform:uppercase}
h1{font-size:2.4rem;line-height:1.15;margin:.5rem 0}h2{font-size:1.4rem;display:flex;gap:.6rem;align-items:center;flex-wrap:wrap}h2.small{font-size:1rem}
.lead{color:var(--soft);font-size:1.1rem;margin:0}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:.8rem;margin:0}
dt{color:var(--soft);font:.75rem/1.4 system-ui,sans-serif}dd{margin:0}
.badge,.time{font:600 .75rem/1 system-ui,sans-serif;padding:.35rem .6rem;border-radius:1rem;border:1px solid var(--line)}
.badge{background:var(--accent);border-color:var(--accent);color:var(--paper)}.time{color:var(--soft);font-weight:400}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:1.2rem}
article{background:var(--card);border:1px solid var(--line);border-radius:.7rem;padding:1.3rem}
blockquote{margin:0;font-size:1.05rem}.by{margin:1rem 0 0;color:var(--soft);display:flex;justify-content:space-between;align-items:center;gap:1rem}
.stars{font-size:1.35rem;letter-spacing:.1em;white-space:nowrap}.stars.red{color:#d92d20}.stars.black{color:var(--ink)}
.unrated{font-style:italic;color:#b54708}
.served,footer{color:var(--soft);font:.85rem/1.6 system-ui,sans-serif}
.failure{border:1px solid #f0b4ae;background:#d92d2012;border-radius:.7rem;padding:1rem 1.3rem}.failure p{margin:.3rem 0}
`

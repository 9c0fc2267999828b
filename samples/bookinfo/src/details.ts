import { idAfter, sendJson, serve } from './service.ts'

serve('details', (_request, response, url) => {
  const id = idAfter('/details/', url.pathname)
  if (id === undefined) return sendJson(response, 400, { error: 'please provide numeric product id' })
  sendJson(response, 200, {
    id,
    author: 'William Shakespeare',
    year: 1595,
    type: 'paperback',
    pages: 200,
    publisher: 'PublisherA',
    language: 'English',
    'ISBN-10': '1234567890',
    'ISBN-13': '123-1234567890',
  })
})

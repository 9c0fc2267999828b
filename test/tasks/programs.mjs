// The applications of the tasks: one program, whose first argument says which it plays. Plain Node.js, no dependencies:
// it is copied into the mesh's folder, where the users of the pods may read it.
import { readFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'

const [role, version = ''] = process.argv.slice(2)
process.on('SIGTERM', () => process.exit(0))

/** httpbin and tcp-echo in one: tells what it was asked, waits or fails when told to. */
function echo() {
  let failing = false
  const server = http.createServer((request, response) => {
    const { method, url, headers } = request
    console.log(`${method} ${url} ${headers.host}`)
    const [, what, amount] = url.split('?')[0].split('/')
    const answer = (status) => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ version, method, url, headers }))
    }
    if (what === 'failing') {
      failing = amount === 'yes'
      answer(200)
    } else if (what === 'delay') setTimeout(() => answer(200), Number(amount))
    else answer(failing ? 503 : what === 'status' ? Number(amount) : 200)
  })
  server.listen(8000)
  for (const port of [9000, 9001]) {
    net
      .createServer((socket) => {
        socket.on('error', () => socket.destroy())
        socket.on('data', (data) => socket.write(`${version} ${port} ${data}`))
      })
      .listen(port)
  }
}

/** Decides by the header x-ext-authz, over HTTP and over gRPC (envoy.service.auth.v3.Authorization, bytes by hand). */
function authorizer() {
  const allows = (text) => text === 'allow'
  http
    .createServer((request, response) => {
      console.log(`check http ${request.url}`)
      const allowed = allows(request.headers['x-ext-authz'])
      response.writeHead(allowed ? 200 : 403, { 'x-ext-authz-check-result': allowed ? 'allowed' : 'denied' })
      response.end(allowed ? '' : 'denied by ext_authz')
    })
    .listen(8000)
  const OK = Buffer.from([0x0a, 0x00])
  const DENIED = Buffer.from([0x0a, 0x02, 0x08, 0x07])
  http2
    .createServer()
    .on('stream', (stream) => {
      const chunks = []
      stream.on('error', () => stream.destroy())
      stream.on('data', (chunk) => chunks.push(chunk))
      stream.on('end', () => {
        const request = Buffer.concat(chunks).toString('latin1')
        const message = /x-ext-authz.{1,6}allow/s.test(request) ? OK : DENIED
        console.log(`check grpc ${message === OK}`)
        const frame = Buffer.alloc(5)
        frame.writeUInt32BE(message.length, 1)
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
        stream.end(Buffer.concat([frame, message]))
      })
    })
    .listen(9000)
}

/** A host outside of the mesh: HTTP 80, HTTPS 443, HTTPS that asks for a client certificate 8443, Zipkin 9411. */
function external() {
  const answer = (name) => (request, response) => {
    console.log(`${name} ${request.method} ${request.url} ${request.headers.host}`)
    if (request.url === '/jwks') return response.end(readFileSync('certs/jwks.json'))
    const subject = request.socket.getPeerCertificate?.().subject?.CN
    response.end(JSON.stringify({ server: name, subject, headers: request.headers }))
  }
  const pair = { cert: readFileSync('certs/external.pem'), key: readFileSync('certs/external.key') }
  http.createServer(answer('http')).listen(80)
  https.createServer(pair, answer('https')).listen(443)
  const ca = readFileSync('certs/ca.pem')
  https.createServer({ ...pair, ca, requestCert: true, rejectUnauthorized: true }, answer('mtls')).listen(8443)
  http
    .createServer((request, response) => {
      let body = ''
      request.on('data', (chunk) => (body += chunk))
      request.on('end', () => {
        console.log(`spans ${body}`)
        response.writeHead(202)
        response.end()
      })
    })
    .listen(9411)
}

/** Sleeps, so that commands can be run in its pod. */
function sleep() {
  setInterval(() => {}, 1 << 30)
}

const roles = { echo, authorizer, external, sleep }
roles[role]()

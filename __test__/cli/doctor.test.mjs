// What the doctor sees of servers that are well, and of those that are not.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { createServer as createTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { json, trunkline, without } from './run.mjs'

/** Where tests may write. */
function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-doctor-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function mock(t, options) {
  const upstream = await MockUpstream.start(options)
  t.after(() => upstream.close())
  if (!upstream.ca) return { upstream, url: `${upstream.url}/v1` }
  const file = join(scratch(t), 'ca.pem')
  writeFileSync(file, upstream.ca)
  return { upstream, url: `${upstream.url}/v1`, file }
}

/** A server of Node's on loopback; its port. */
async function listening(t, server) {
  const sockets = new Set()
  server.on('connection', (socket) => sockets.add(socket.on('close', () => sockets.delete(socket))))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return server.address().port
}

/** Of the tests that need certificates of some kind. */
const openssl = { skip: without('openssl') }
const DAY = 86_400_000

/** A key and a certificate of its own authority, made by openssl: for a name, valid from and to so many days from now. */
function certificate(t, names, from = -1, to = 30, subject = 'Test') {
  const folder = scratch(t)
  const at = (name) => join(folder, name)
  const day = (offset) => new Date(Date.now() + offset * DAY).toISOString().replace(/[-:T]|\.\d+/g, '')
  // `openssl req` alone cannot date a certificate before openssl 3.4.
  writeFileSync(at('index.txt'), '')
  writeFileSync(
    at('ca.cnf'),
    `[ca]
default_ca = own
[own]
database = ${at('index.txt')}
new_certs_dir = ${folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = ${names}
basicConstraints = CA:TRUE
[req]
distinguished_name = name
[name]
`,
  )
  const run = (...args) => execFileSync('openssl', args, { stdio: 'pipe' })
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  run(
    'req',
    '-new',
    '-config',
    at('ca.cnf'),
    ...ec,
    '-keyout',
    at('key.pem'),
    '-out',
    at('csr.pem'),
    '-subj',
    `/CN=${subject}`,
  )
  const own = [
    '-config',
    at('ca.cnf'),
    '-selfsign',
    '-keyfile',
    at('key.pem'),
    '-in',
    at('csr.pem'),
    '-out',
    at('cert.pem'),
  ]
  run('ca', '-batch', '-notext', ...own, '-startdate', day(from), '-enddate', day(to))
  return { key: readFileSync(at('key.pem')), cert: readFileSync(at('cert.pem')), file: at('cert.pem') }
}

const ok = (_, response) => response.setHeader('content-type', 'application/json').end('{}')
const codes = ({ problems }) => problems.map(({ step, code }) => `${step} ${code}`)

test('over TLS: version, resumption, certificate, ALPN, streams, round trip, the pool', async (t) => {
  const { url, file } = await mock(t, { tls: true, maxConcurrentStreams: 7 })
  const { code, data } = await json(['doctor', url.replace('127.0.0.1', 'localhost'), '--ca', file])
  assert.deepEqual([code, data.ok, data.problems], [0, true, []])
  const { dns, connect, tls, http, pool } = data.steps
  assert.equal(dns.host, 'localhost')
  assert.ok(connect.some(({ address, error }) => address === '127.0.0.1' && error === null))
  assert.deepEqual([tls.version, tls.alpn, tls.resumed, tls.trusted], ['TLS 1.3', 'h2', true, true])
  assert.match(tls.certificate.issuer, /Trunkline/)
  assert.deepEqual([http.protocol, http.maxConcurrentStreams], ['h2', 7])
  assert.ok(http.roundTrip > 0)
  assert.deepEqual([pool.protocol, pool.status, pool.connections], ['h2', http.status, 1])
  assert.equal(data.settings.maxStreamsPerConnection, 7)
})

test('with a load, as many connections follow as it needs with the streams that the server allows', async (t) => {
  const { url, file } = await mock(t, { tls: true, maxConcurrentStreams: 10 })
  const load = ['--peak', '50', '--response-time', '2000', '--interval', '1000']
  const h2 = await json(['doctor', url, '--ca', file, ...load])
  assert.deepEqual(h2.data.settings, { maxConnections: 12, maxIdleConnections: 12, maxStreamsPerConnection: 10 })
  const h1 = await json(['doctor', url, '--ca', file, '--h1', ...load])
  assert.deepEqual(h1.data.settings, {
    maxConnections: 110,
    maxConnectionsPerOrigin: 110,
    maxIdleConnections: 55,
    http2: 'never',
  })
  assert.equal(h1.data.steps.tls.alpn, 'http/1.1')
})

test('in plain text, HTTP/1.1 and by --h2 HTTP/2', async (t) => {
  const { url } = await mock(t)
  const h1 = await json(['doctor', url])
  assert.deepEqual([h1.code, h1.data.steps.http.protocol, h1.data.steps.pool.protocol], [0, 'h1', 'h1'])
  const h2 = await json(['doctor', url, '--h2'])
  assert.deepEqual([h2.code, h2.data.steps.http.protocol, h2.data.steps.pool.protocol], [0, 'h2', 'h2'])
  assert.equal(h2.data.steps.http.maxConcurrentStreams, 200)
  assert.equal(h2.data.settings.http2, 'prior-knowledge')
})

test('what is printed for pasting is what a client takes', async (t) => {
  const { url, file } = await mock(t, { tls: true, maxConcurrentStreams: 9 })
  const { code, out } = await trunkline([
    'doctor',
    url,
    '--ca',
    file,
    '--peak',
    '5',
    '--response-time',
    '100',
    '--interval',
    '10',
  ])
  assert.equal(code, 0, out)
  const pasted = out.slice(out.indexOf('const { readFileSync }'), out.indexOf('\n\n', out.indexOf('const line')))
  const script = `const { Trunkline } = require('trunkline');(async () => {\n${pasted}\nawait line.close()\nconsole.log('taken')})()`
  const { taken, said } = await new Promise((resolve) =>
    trunkline([], { before: ['-e', script] }).then(({ out, err }) => resolve({ taken: out, said: err })),
  )
  assert.equal(taken, 'taken\n', `${said}\n${pasted}`)
})

test('how long a connection may rest: as the server says, and as it does', async (t) => {
  const server = createHttp(ok)
  server.keepAliveTimeout = 300
  const url = `http://127.0.0.1:${await listening(t, server)}/v1`
  const { code, data } = await json(['doctor', url, '--keep-alive-wait', '60'])
  assert.equal(code, 0)
  assert.ok(data.steps.rest.closedAfter > 0 && data.steps.rest.closedAfter < 60_000)
  assert.ok(data.settings.idleTimeout < data.steps.rest.closedAfter)

  server.keepAliveTimeout = 20_000
  const said = await json(['doctor', url])
  assert.equal(said.data.steps.http.keepAlive.timeout, 20)
  assert.equal(said.data.settings.idleTimeout, 16_000)
})

test('a server that closes after each answer is told of, and nothing is kept warm for it', async (t) => {
  const server = createHttp((request, response) => ok(request, response.setHeader('connection', 'close')))
  const { code, data } = await json(['doctor', `http://127.0.0.1:${await listening(t, server)}/`])
  assert.deepEqual([code, data.warmup, data.steps.http.keepAlive.closes], [0, null, true])
  assert.match(data.notes[0].message, /no connection can be used again/)
})

test('a key is looked at where models are listed, and is never printed', async (t) => {
  const { upstream, url } = await mock(t, { keys: { 'sk-good-1': {} } })
  const env = { GOOD: 'sk-good-1', BAD: 'sk-bad-1', WITH_BREAK: 'sk-good-1\n' }
  const good = await json(['doctor', url, '--key-env', 'GOOD'], { env })
  assert.deepEqual([good.code, good.data.steps.http.status], [0, 200])
  const listed = upstream.requests.find(({ path }) => path === '/v1/models')
  assert.equal(listed.headers.authorization, 'Bearer sk-good-1')
  const bad = await json(['doctor', url, '--key-env', 'BAD'], { env })
  assert.deepEqual([bad.code, codes(bad.data)], [1, ['http KEY_401']])
  for (const { data } of [good, bad]) assert.doesNotMatch(JSON.stringify(data), /sk-(good|bad)/)
  for (const [name, says] of [
    ['WITH_BREAK', /has what no key has/],
    ['NONE', /NONE is not set/],
  ]) {
    const { code, err } = await trunkline(['doctor', url, '--key-env', name], { env })
    assert.equal(code, 2)
    assert.match(err, says)
  }
})

test('a port where nobody listens is refused, and what to look at is told', async (t) => {
  const server = createTcp()
  const port = await listening(t, server)
  await new Promise((resolve) => server.close(resolve))
  const { code, data } = await json(['doctor', `https://127.0.0.1:${port}/v1`])
  assert.deepEqual([code, codes(data), data.settings], [1, ['connect ECONNREFUSED'], {}])
  const { out } = await trunkline(['doctor', `https://127.0.0.1:${port}/v1`])
  assert.match(out, /✗ connect[\s\S]*→ Does it run, and at that port\?[\s\S]*✗ 1 problem\.\n$/)
})

test('a name that is none', async () => {
  const { code, data } = await json(['doctor', 'https://nobody.invalid/v1', '--timeout', '5000'])
  assert.deepEqual([code, data.problems.length, data.problems[0].step], [1, 1, 'address'])
  assert.match(data.problems[0].code, /^(ENOTFOUND|EAI_AGAIN|TIMEOUT)$/)
})

test('https:// where plain HTTP is spoken, and http:// where TLS is', async (t) => {
  const plain = await listening(t, createHttp(ok))
  const { url } = await mock(t, { tls: true })
  assert.deepEqual(codes((await json(['doctor', `https://127.0.0.1:${plain}`])).data), ['tls PLAIN_HTTP_AT_TLS_PORT'])
  assert.deepEqual(codes((await json(['doctor', url.replace('https', 'http')])).data), ['http TLS_AT_PLAIN_HTTP_PORT'])
})

test(
  'certificates that are expired, of the future, of another host, or by nobody: each is told as what it is',
  openssl,
  async (t) => {
    const cases = [
      [['DNS:other.example'], 'ERR_TLS_CERT_ALTNAME_INVALID', /other\.example/],
      [['IP:127.0.0.1', -9, -2], 'CERT_HAS_EXPIRED', /clock/],
      [['IP:127.0.0.1', 5, 9], 'CERT_NOT_YET_VALID', /clock is most likely wrong/],
      [['IP:127.0.0.1'], 'DEPTH_ZERO_SELF_SIGNED_CERT', /NODE_EXTRA_CA_CERTS/, 'untrusted'],
    ]
    for (const [made, expected, says, trust] of cases) {
      const { key, cert, file } = certificate(t, ...made)
      const port = await listening(t, createHttps({ key, cert }, ok))
      const args = ['doctor', `https://127.0.0.1:${port}/v1`, ...(trust ? [] : ['--ca', file]), '--key-env', 'KEY']
      const { code, data } = await json(args, { env: { KEY: 'sk-never-shown' } })
      assert.deepEqual([code, codes(data), data.steps.tls.trusted], [1, [`tls ${expected}`], false])
      assert.match(data.problems[0].advice, says)
    }
  },
)

test('a certificate that ends soon is told', openssl, async (t) => {
  const { key, cert, file } = certificate(t, 'IP:127.0.0.1', -1, 5)
  const port = await listening(t, createHttps({ key, cert }, ok))
  const { data } = await json(['doctor', `https://127.0.0.1:${port}/v1`, '--ca', file])
  assert.match(data.notes[0].message, /the certificate ends in [45] days/)
})

test(
  'what Node takes and the pool does not is found: a certificate that has its name in the old place alone',
  openssl,
  async (t) => {
    const { key, cert, file } = certificate(t, 'email:nobody@example.com', -1, 30, 'localhost')
    const port = await listening(t, createHttps({ key, cert }, ok))
    const { code, data } = await json(['doctor', `https://localhost:${port}/v1`, '--ca', file])
    assert.deepEqual([code, data.problems.length, data.problems[0].step, data.settings], [1, 1, 'pool', {}])
    assert.match(data.problems[0].message, /the pool fails where Node does not/)
  },
)

test('no key goes to a server whose certificate is not trusted', openssl, async (t) => {
  const { key, cert } = certificate(t, 'IP:127.0.0.1')
  const seen = []
  const port = await listening(
    t,
    createHttps({ key, cert }, (request, response) => {
      seen.push(request.headers.authorization)
      ok(request, response)
    }),
  )
  await json(['doctor', `https://127.0.0.1:${port}/v1`, '--key-env', 'KEY'], { env: { KEY: 'sk-never-sent' } })
  assert.ok(seen.length > 0)
  assert.deepEqual(seen.filter(Boolean), [])
})

test('a web page in place of an API, and a way to another host, are a captive portal or a wrong URL', async (t) => {
  const page = createHttp((_, response) =>
    response.setHeader('content-type', 'text/html').end('<!doctype html><title>Log in'),
  )
  const away = createHttp((_, response) => response.writeHead(302, { location: 'http://login.invalid/' }).end())
  const broken = createHttp((_, response) => response.writeHead(503).end())
  for (const [server, expected] of [
    [page, 'HTML'],
    [away, 'REDIRECTED'],
    [broken, 'STATUS_503'],
  ]) {
    const { code, data } = await json(['doctor', `http://127.0.0.1:${await listening(t, server)}/v1`])
    assert.deepEqual([code, codes(data)], [1, [`http ${expected}`]])
  }
})

test('what is silent, or speaks no HTTP, ends within the timeout', async (t) => {
  const silent = await listening(
    t,
    createTcp(() => {}),
  )
  const garbage = await listening(
    t,
    createTcp((socket) => socket.on('error', () => {}).end('SSH-2.0-OpenSSH_9.9\r\n')),
  )
  const one = await json(['doctor', `http://127.0.0.1:${silent}`, '--timeout', '300'])
  assert.deepEqual([one.code, codes(one.data)], [1, ['http TIMEOUT']])
  const tls = await json(['doctor', `https://127.0.0.1:${silent}`, '--timeout', '300'])
  assert.deepEqual(codes(tls.data), ['tls TIMEOUT'])
  const other = await json(['doctor', `http://127.0.0.1:${garbage}`])
  assert.equal(other.code, 1)
  assert.match(codes(other.data)[0], /^http (HPE_|ECONNRESET)/)
})

test("a clock that differs from the server's is told", async (t) => {
  const server = createHttp((request, response) =>
    ok(request, response.setHeader('date', new Date(Date.now() - 600_000).toUTCString())),
  )
  const { data } = await json(['doctor', `http://127.0.0.1:${await listening(t, server)}`])
  assert.match(data.notes[0].message, /this machine's clock is 10 min ahead of the server's/)
})

/** A proxy of CONNECT; how many went through it. */
async function proxy(t, status = 200) {
  const { connect } = await import('node:net')
  const seen = []
  const server = createHttp((_, response) => response.writeHead(400).end())
  server.on('connect', (request, socket) => {
    seen.push({ to: request.url, credentials: request.headers['proxy-authorization'] })
    socket.on('error', () => {})
    if (status !== 200) return socket.end(`HTTP/1.1 ${status} No\r\n\r\n`)
    const [host, port] = request.url.split(':')
    const on = connect(port, host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      on.pipe(socket).pipe(on)
    })
    on.on('error', () => socket.destroy())
    t.after(() => on.destroy())
  })
  return { seen, port: await listening(t, server) }
}

test('the proxy of the environment is gone through and told without its password; NO_PROXY is heard', async (t) => {
  const { url, file } = await mock(t, { tls: true })
  const { seen, port } = await proxy(t)
  const env = { HTTPS_PROXY: `http://ada:pass-word@127.0.0.1:${port}` }
  const { code, data } = await json(['doctor', url, '--ca', file], { env })
  assert.deepEqual([code, codes(data), data.proxy], [0, [], `http://127.0.0.1:${port}`])
  assert.equal(data.steps.http.protocol, 'h2')
  assert.ok(seen.length >= 3)
  assert.ok(seen.every(({ credentials }) => credentials === `Basic ${Buffer.from('ada:pass-word').toString('base64')}`))
  assert.doesNotMatch(JSON.stringify(data), /pass-word/)
  const before = seen.length
  for (const NO_PROXY of ['127.0.0.1', 'x.example, 127.0.0.0/8', '*']) {
    const exempt = await json(['doctor', url, '--ca', file], { env: { ...env, NO_PROXY } })
    assert.deepEqual([exempt.code, exempt.data.proxy], [0, null])
  }
  assert.equal(seen.length, before)
})

test('a proxy that wants a password', async (t) => {
  const { url } = await mock(t, { tls: true })
  const { port } = await proxy(t, 407)
  const { code, data } = await json(['doctor', url], { env: { https_proxy: `http://127.0.0.1:${port}` } })
  assert.deepEqual([code, codes(data)], [1, ['proxy PROXY_407']])
})

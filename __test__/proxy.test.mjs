// Proxies and Unix sockets, by option and by environment.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { COMPLETION, client, http, REQUEST, run, SCRIPT, start } from './support.mjs'

const machine = { ...process.env }
/** No proxies, whatever the machine has of them. */
const NONE = { REQUEST_METHOD: undefined }
for (const name of ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy']) {
  NONE[name] = NONE[name.toUpperCase()] = undefined
}

/** A proxy that speaks CONNECT, or answers everything with `refusal`. `heads` are the requests. */
async function proxy(t, refusal) {
  const heads = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    let head = ''
    const onData = (data) => {
      head += data.toString('latin1')
      if (!head.endsWith('\r\n\r\n')) return
      socket.off('data', onData)
      heads.push(head)
      if (refusal) return socket.end(refusal)
      const [, host, port] = /^CONNECT (.+):(\d+) /.exec(head)
      const upstream = connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
        socket.pipe(upstream).pipe(socket)
      })
      upstream.on('error', () => socket.destroy())
    }
    socket.on('data', onData)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => server.close())
  return { heads, host: `127.0.0.1:${server.address().port}` }
}

/** With this environment, and none of the machine's proxies, until the test ends. */
function environment(t, variables) {
  const set = (all) => {
    for (const name of Object.keys(NONE)) {
      if (all[name] === undefined) delete process.env[name]
      else process.env[name] = all[name]
    }
  }
  set(variables)
  t.after(() => set(machine))
}

const mistake = (options) => {
  try {
    new Trunkline(options)
  } catch (error) {
    assert.equal(error.name, 'ConfigError')
    return error.message
  }
  assert.fail('taken')
}

test('a process with HTTPS_PROXY calls its https provider through that proxy', async (t) => {
  const upstream = await MockUpstream.start({ tls: true })
  t.after(() => upstream.close())
  const { heads, host } = await proxy(t)
  const source = `
    import { Trunkline } from 'trunkline'
    const { UPSTREAM, CA } = process.env
    const line = new Trunkline({ baseURL: UPSTREAM + '/v1', apiKey: 'sk-key', retry: false, pool: { tls: { ca: CA } } })
    const { meta } = await line.chat(${JSON.stringify(REQUEST)}).withMeta()
    console.log(meta.connection.protocol)
  `
  const env = { ...NONE, HTTPS_PROXY: `http://us%40er:pass@${host}`, CA: upstream.ca }
  const { code, stdout, stderr } = await run(source, { url: upstream.url, env })
  assert.deepEqual([code, stdout, stderr], [0, 'h2', ''])
  assert.equal(heads.length, 1)
  assert.match(heads[0], new RegExp(`^CONNECT ${new URL(upstream.url).host} HTTP/1\\.1\r\n`))
  const credentials = Buffer.from('us@er:pass').toString('base64')
  assert.match(heads[0], new RegExp(`\r\nproxy-authorization: Basic ${credentials}\r\n`, 'i'))
  assert.equal(upstream.requests.length, 1)
})

test('NO_PROXY leaves a host out, for a whole process', async (t) => {
  const { upstream } = await start(t)
  const { heads, host } = await proxy(t)
  const env = { ...NONE, http_proxy: host, NO_PROXY: 'a.example, 127.0.0.1, localhost' }
  const { code, stderr } = await run(`${SCRIPT} await line.chat(REQUEST)`, { url: upstream.url, env })
  assert.deepEqual([code, stderr, heads.length], [0, '', 0])
})

test('each scheme has its variable, the lower-case one wins, and all_proxy is for the rest', async (t) => {
  const [used, other] = [await proxy(t), await proxy(t, 'HTTP/1.1 500 No\r\n\r\n')]
  const { upstream } = await start(t)
  const [a, b] = [`http://${used.host}`, `http://${other.host}`]
  const table = [
    { http_proxy: a, HTTP_PROXY: b },
    { http_proxy: used.host, https_proxy: b },
    { HTTP_PROXY: a, all_proxy: b },
    { all_proxy: a, HTTPS_PROXY: b },
    { ALL_PROXY: a },
    // Such a program's HTTP_PROXY is a header that anybody may send.
    { ALL_PROXY: a, HTTP_PROXY: b, REQUEST_METHOD: 'GET' },
  ]
  for (const [index, variables] of table.entries()) {
    environment(t, variables)
    await client(t, upstream).chat(REQUEST)
    assert.equal(used.heads.length, index + 1, JSON.stringify(variables))
  }
  const none = [{ http_proxy: '', HTTP_PROXY: b }, { https_proxy: b }, { http_proxy: b, no_proxy: '*' }, {}]
  for (const variables of none) {
    environment(t, variables)
    await client(t, upstream).chat(REQUEST)
  }
  environment(t, { http_proxy: b })
  await client(t, upstream, { pool: { proxy: false } }).chat(REQUEST)
  await client(t, upstream, { pool: { noProxy: ['127.0.0.0/8'] } }).chat(REQUEST)
  await client(t, upstream, { pool: { proxy: a } }).chat(REQUEST)
  assert.deepEqual([used.heads.length, other.heads.length], [table.length + 1, 0])
})

test('a proxy that refuses is a ConnectionError of phase proxy that names the status, and is asked again', async (t) => {
  const { heads, host } = await proxy(t, 'HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n')
  const { upstream } = await start(t)
  const pool = { proxy: `http://user:secret@${host}` }
  const line = client(t, upstream, { pool, retry: { maxRetries: 1, baseDelay: 1 } })
  const error = await line.chat(REQUEST).then(assert.fail, (error) => error)
  assert.deepEqual(
    [error.name, error.code, error.phase, error.retryable, error.billed],
    ['ConnectionError', 'ERR_CONNECTION', 'proxy', true, 'no'],
  )
  assert.match(error.message, /the proxy http:\/\/127\.0\.0\.1:\d+ answered 503/)
  assert.equal(error.attempts.length, 2)
  assert.equal(heads.length, 2)
  assert.equal(upstream.requests.length, 0)
  const shown = [error.stack, error.cause?.stack, JSON.stringify(error), JSON.stringify(line.metrics())].join()
  assert.doesNotMatch(shown, /secret/)
})

test('a proxy that wants other credentials is not asked again', async (t) => {
  const { heads, host } = await proxy(t, 'HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n')
  const { upstream } = await start(t)
  const line = client(t, upstream, { pool: { proxy: `http://${host}` }, retry: { maxRetries: 1, baseDelay: 1 } })
  const error = await line.chat(REQUEST).then(assert.fail, (error) => error)
  assert.match(error.message, /the proxy http:\/\/127\.0\.0\.1:\d+ answered 407/)
  assert.deepEqual([error.phase, error.retryable, error.attempts.length, heads.length], ['proxy', false, 1, 1])
})

test('a wrong variable is a mistake only for clients that go by it', async (t) => {
  environment(t, { http_proxy: 'ftp://proxy.example' })
  await new Trunkline({ baseURL: 'https://a.example' }).close()
  assert.match(mistake({ baseURL: 'http://a.example' }), /^http_proxy: must be a URL/)
  environment(t, { http_proxy: 'ftp://proxy.example', no_proxy: 'a.example' })
  await new Trunkline({ baseURL: 'http://a.example' }).close()
})

test('a proxy that is none is refused by its name, and never repeated', (t) => {
  environment(t, { https_proxy: 'ftp://user:secret@proxy.example' })
  assert.match(mistake({}), /^https_proxy: must be a URL with http, https, socks5 or socks5h/)
  assert.doesNotMatch(mistake({}), /secret/)
  assert.match(mistake({ pool: { proxy: 'ftp://user:secret@proxy.example' } }), /^pool\.proxy: must be a URL with http/)
  assert.match(mistake({ pool: { proxy: true } }), /^pool\.proxy: must be a string or false, got a boolean/)
  assert.match(mistake({ pool: { noProxy: 'localhost', proxy: false } }), /^pool\.noProxy: must be an array/)
  assert.match(
    mistake({ pool: { socketPath: '/x', proxy: 'http://a.example' } }),
    /^pool\.socketPath: must not be given/,
  )
  assert.match(mistake({ pool: { proxy: false, tls: { cert: 'x' } } }), /^pool\.tls\.key: must be given with/)
})

test('a Unix socket leads to the provider, whatever the environment says of proxies', async (t) => {
  environment(t, { http_proxy: 'http://127.0.0.1:9', all_proxy: 'http://127.0.0.1:9' })
  const socketPath = join(tmpdir(), `trunkline-test-${process.pid}.sock`)
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write(http(COMPLETION)))
  })
  await once(server.listen(socketPath), 'listening')
  t.after(() => server.close())
  const line = client(t, 'http://no-such-host.invalid', { pool: { socketPath } })
  const answer = await line.chat(REQUEST)
  assert.equal(answer.choices[0].message.content, 'good')
})

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer, get, request } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { ConfigError, Trunkline } from 'trunkline'
import { Browser, chromium, unreadable } from './browser.mjs'
import { client, collected, own, REQUEST, rejection, root, start, until } from './support.mjs'

/** A client with a dashboard, after some calls: two models, one of which fails once. */
async function shown(t, { upstream: how, dashboard: options, ...more } = {}) {
  const { upstream, line } = await start(t, {
    upstream: how,
    retry: { baseDelay: 1 },
    pricing: { 'gpt-test': { input: 1000, output: 2000 } },
    ...more,
  })
  const dashboard = await line.dashboard(options)
  t.after(() => dashboard.close())
  return { upstream, line, dashboard }
}

/** One request with headers that fetch would not send. */
function ask(url, { method = 'GET', ...headers } = {}) {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, async (res) => {
      let text = ''
      for await (const piece of res.setEncoding('utf8')) text += piece
      resolve({ status: res.statusCode, headers: res.headers, text })
    })
    sent.on('error', reject).end()
  })
}

/** Server-sent events as they come, until `leave` is called. */
function follow(url) {
  const events = []
  const sent = get(url, { agent: false }, (res) => {
    events.type = res.headers['content-type']
    let rest = ''
    res.setEncoding('utf8').on('data', (text) => {
      const blocks = (rest + text).split('\n\n')
      rest = blocks.pop()
      for (const block of blocks) {
        const [, name] = /^event: (.*)$/m.exec(block) ?? [null, 'message']
        events.push({ name, data: JSON.parse(/^data: (.*)$/m.exec(block)[1]) })
      }
    })
    res
      .on('error', () => {})
      .on('close', () => {
        events.closed = true
      })
  })
  sent.on('error', () => {})
  return { events, leave: () => sent.destroy() }
}

/** What does not change while nothing is asked. */
const settled = ({ uptime: _, tokens: { perSecond: __, ...tokens }, ...metrics }) => ({ ...metrics, tokens })
const snapshot = async (url) => (await fetch(`${url}snapshot`)).json()

test('the page is one file that needs nothing from elsewhere, under a policy that forbids it', async (t) => {
  const { dashboard } = await shown(t)
  const { status, headers, text } = await ask(dashboard.url)
  assert.equal(status, 200)
  assert.match(headers['content-type'], /^text\/html/)
  assert.equal(headers['cache-control'], 'no-store')
  assert.equal(headers['x-content-type-options'], 'nosniff')
  assert.equal(headers['access-control-allow-origin'], undefined)
  const policy = headers['content-security-policy']
  assert.match(policy, /default-src 'none'/)
  assert.match(policy, /frame-ancestors 'none'/)
  assert.doesNotMatch(policy, /unsafe/)
  assert.doesNotMatch(text, /(src|href)="(?!data:|metrics"|snapshot")/)
  assert.doesNotMatch(text, / on[a-z]+=/)
})

test('figures come as server-sent events: what was, then a snapshot as often as they change', async (t) => {
  const { line, dashboard } = await shown(t, { budget: { limit: 100, window: 'day' } })
  await line.chat(REQUEST)
  const { events, leave } = follow(`${dashboard.url}data`)
  t.after(leave)
  await until(() => events.length >= 2)
  assert.match(events.type, /^text\/event-stream/)
  assert.equal(events[0].name, 'history')
  assert.ok(events[0].data.length >= 1)

  const first = events[1].data
  assert.deepEqual(settled(first.metrics), settled(line.metrics()))
  assert.deepEqual(first.budget, line.costs().budget)
  for (const [name, options] of [
    ['today', { window: 'day' }],
    ['yesterday', { window: 'day', before: true }],
    ['month', { window: 'month' }],
  ])
    assert.equal(first.costs[name].total, line.costs(options).total, name)
  assert.ok(first.costs.today.total > 0)
  assert.equal(first.savings.handshakesAvoided, line.savings().handshakesAvoided)

  await line.chat(REQUEST)
  await until(() => events.at(-1).data.metrics?.requests.succeeded === 2)
  assert.deepEqual(settled(events.at(-1).data.metrics), settled(line.metrics()))
  assert.ok(events.at(-1).data.point.at > first.point.at)
})

test('where the time of calls went is told by model, and the parts are the whole', async (t) => {
  const { upstream, line, dashboard } = await shown(t, { upstream: { latency: 30 } })
  upstream.fault({ kind: 'status', status: 503 }, { times: 1 })
  const metas = []
  for (const model of ['gpt-test', 'gpt-test', 'other'])
    metas.push((await line.chat({ ...REQUEST, model }).withMeta()).meta)
  assert.equal(metas[0].attempts.length, 2)
  const { time } = await snapshot(dashboard.url)
  const of = Object.fromEntries(time.map((model) => [model.name, model]))
  assert.deepEqual(Object.keys(of).sort(), ['default/gpt-test', 'default/other'])
  assert.equal(of['default/gpt-test'].calls, 2)
  const total = (metas[0].timings.total + metas[1].timings.total) / 2
  const about = (one, other) => assert.ok(Math.abs(one - other) < 0.01, `${one} is not ${other}`)
  about(of['default/gpt-test'].mean, total)
  about(of['default/other'].mean, metas[2].timings.total)
  about(of['default/other'].firstByte, metas[2].timings.firstByte)
  for (const { mean, queued, connecting, retried, firstByte, rest } of time)
    about(queued + connecting + retried + firstByte + rest, mean)
  assert.ok(of['default/gpt-test'].retried > 0, 'the attempt that failed has its part')
  assert.equal(of['default/other'].retried, 0)
})

test('the last errors are told by code and place, the newest first, and an abort by its name alone', async (t) => {
  const { upstream, line, dashboard } = await shown(t)
  upstream.fault({ kind: 'status', status: 400 }, { times: 1 })
  await rejection(line.chat({ ...REQUEST, messages: [{ role: 'user', content: 'the secret word is xyzzy' }] }))
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  const controller = new AbortController()
  const aborted = rejection(line.chat(REQUEST, { signal: controller.signal }))
  await until(() => upstream.requests.length === 2)
  controller.abort(new Error('whatever the caller writes: xyzzy'))
  await aborted
  const text = (await ask(`${dashboard.url}snapshot`)).text
  const { errors } = JSON.parse(text)
  assert.deepEqual(
    errors.map(({ code, name, status, model }) => ({ code, name, status, model })),
    [
      { code: null, name: 'Error', status: null, model: 'gpt-test' },
      { code: 'ERR_BAD_REQUEST', name: 'BadRequestError', status: 400, model: 'gpt-test' },
    ],
  )
  assert.doesNotMatch(text, /xyzzy|sk-test-key/)
})

test('errors are kept in bounds, and aborts leave room for the others', async (t) => {
  const { upstream, line, dashboard } = await shown(t)
  upstream.fault({ kind: 'status', status: 400 }, { times: 1000 })
  for (let call = 0; call < 45; call++) await rejection(line.chat(REQUEST))
  for (let call = 0; call < 30; call++) await rejection(line.chat(REQUEST, { signal: AbortSignal.abort() }))
  const { errors } = await snapshot(dashboard.url)
  assert.equal(errors.length, 50)
  assert.deepEqual(
    errors.map(({ code }) => code),
    [...Array(10).fill(null), ...Array(40).fill('ERR_BAD_REQUEST')],
  )
})

test('a fetch that fails is told by its cause, without the query of its URL', async (t) => {
  const { upstream, line, dashboard } = await shown(t)
  await upstream.close()
  await rejection(line.fetch(`${upstream.url}/path?key=xyzzy`))
  const { text } = await ask(`${dashboard.url}snapshot`)
  const [error] = JSON.parse(text).errors
  assert.deepEqual([error.operation, error.code, error.name], ['fetch', 'ECONNREFUSED', 'ConnectionError'])
  assert.doesNotMatch(text, /xyzzy/)
})

test('it tells of its own client alone', async (t) => {
  const { upstream, line, dashboard } = await shown(t)
  const other = client(t, upstream)
  await other.chat(REQUEST)
  upstream.fault({ kind: 'status', status: 400 }, { times: 1 })
  await rejection(other.chat(REQUEST))
  const { time, errors, metrics } = await snapshot(dashboard.url)
  assert.deepEqual([time, errors, metrics.requests.started], [[], [], line.metrics().requests.started])
})

test('a pool that is full is told in words, with what it would take', async (t) => {
  const { upstream, line, dashboard } = await shown(t, {
    upstream: { http2: false },
    pool: { maxConnections: 2, maxIdleConnections: 2 },
  })
  // Two hold the sockets, ten wait for one.
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 2 })
  const holder = new AbortController()
  const held = [0, 1].map(() => rejection(line.chat(REQUEST, { signal: holder.signal })))
  await until(() => upstream.requests.length === 2)
  const calls = Array.from({ length: 10 }, () => line.chat(REQUEST))
  await until(async () => (await snapshot(dashboard.url)).advice.wanted === 12)
  holder.abort()
  await Promise.all([...held, ...calls])
  const { advice, metrics } = await until(async () => {
    const now = await snapshot(dashboard.url)
    return now.advice.verdict !== 'unknown' && now
  })
  assert.equal(advice.verdict, 'larger')
  assert.equal(advice.max, 2)
  assert.equal(advice.connections, 14, 'what wanted one, and a tenth')
  assert.match(advice.text, new RegExp(`pool\\.maxConnections: ${advice.connections}`))
  const { count, mean } = metrics.queue.wait
  assert.ok(Math.abs(advice.wait - (count * mean) / metrics.latency.count) < 0.01)
})

test('a pool that nobody waits for needs not be larger', async (t) => {
  const { line, dashboard } = await shown(t, { upstream: { latency: 20 } })
  await line.warmup()
  for (let call = 0; call < 5; call++) await line.chat(REQUEST)
  const { advice } = await until(async () => {
    const now = await snapshot(dashboard.url)
    return now.advice.verdict !== 'unknown' && now
  })
  assert.equal(advice.title, 'Nothing', advice.text)
})

test('figures for Prometheus are beside it', async (t) => {
  const { line, dashboard } = await shown(t)
  await line.chat(REQUEST)
  const { status, headers, text } = await ask(`${dashboard.url}metrics`)
  if (typeof line.prometheus !== 'function') return assert.equal(status, 501)
  assert.equal(status, 200)
  assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/)
  assert.match(text, /^# TYPE trunkline_/m)
  // The three agree on what was spent.
  const spent = [...text.matchAll(/^trunkline_cost_dollars_total\{[^}]*\} (\S+)$/gm)].reduce(
    (sum, [, value]) => sum + Number(value),
    0,
  )
  assert.ok(line.costs().total > 0)
  assert.ok(Math.abs(spent - line.costs().total) < 1e-9, `${spent} is not ${line.costs().total}`)
  assert.equal((await snapshot(dashboard.url)).costs.today.total, line.costs({ window: 'day' }).total)
  const accept = 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3'
  const open = await ask(`${dashboard.url}metrics`, { accept })
  assert.match(open.headers['content-type'], /^application\/openmetrics-text; version=1\.0\.0/)
  assert.match(open.text, /# EOF\n$/)
})

test('a name that was made to lead here learns nothing, and addresses of this machine do', async (t) => {
  const { dashboard } = await shown(t, { dashboard: { hosts: ['Admin.Example.com'] } })
  const { port } = dashboard
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '10.1.2.3',
    '[::2]',
  ])
    for (const path of ['', 'data', 'snapshot', 'metrics']) {
      const { status, text } = await ask(`${dashboard.url}${path}`, { host })
      assert.equal(status, 403, `${host} ${path}`)
      assert.doesNotMatch(text, /metrics|<html/)
    }
  for (const host of [
    'localhost',
    `localhost:${port}`,
    `127.0.0.1:${port}`,
    `[::1]:${port}`,
    'a.localhost',
    'admin.example.com',
    'LOCALHOST',
  ])
    assert.equal((await ask(dashboard.url, { host })).status, 200, host)
})

test('it can be read and nothing else', async (t) => {
  const { dashboard } = await shown(t)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    const { status, headers } = await ask(`${dashboard.url}snapshot`, { method })
    assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], method)
  }
  const head = await ask(dashboard.url, { method: 'HEAD' })
  assert.deepEqual([head.status, head.text], [200, ''])
  assert.equal((await ask(`${dashboard.url}data`, { method: 'HEAD' })).status, 200)
  for (const path of ['nothing', 'data/', '../package.json', '%2e%2e/x', 'page'])
    assert.equal((await ask(`${dashboard.url}${path}`)).status, 404, path)
})

test('it listens on loopback unless it is told otherwise', async (t) => {
  const { dashboard } = await shown(t)
  assert.match(dashboard.url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
  assert.equal(new URL(dashboard.url).port, String(dashboard.port))
  const { line } = await start(t)
  const wide = await line.dashboard({ host: '::1' })
  t.after(() => wide.close())
  assert.match(wide.url, /^http:\/\/\[::1\]:\d+\/$/)
  assert.equal((await ask(wide.url)).status, 200)
})

test('a port in use and wrong options are refused by their path', async (t) => {
  const { line, dashboard } = await shown(t)
  const refused = async (options, message) => {
    const error = await rejection(line.dashboard(options))
    assert.ok(error instanceof ConfigError, String(error))
    assert.match(error.message, message)
    return error
  }
  const error = await refused(
    { port: dashboard.port },
    new RegExp(`^dashboard\\.port: ${dashboard.port} is in use on 127\\.0\\.0\\.1$`),
  )
  assert.equal(error.cause.code, 'EADDRINUSE')
  await refused({ port: -1 }, /^dashboard\.port: must be an integer from 0 to 65535, got -1$/)
  await refused({ port: '4400' }, /^dashboard\.port: /)
  await refused({ host: '' }, /^dashboard\.host: /)
  await refused({ host: '203.0.113.7' }, /^dashboard\.host: '203\.0\.113\.7' is no address of this machine$/)
  await refused({ hosts: 'localhost' }, /^dashboard\.hosts: must be an array of names/)
  await refused({ hosts: ['http://x/'] }, /^dashboard\.hosts\[0\]: /)
  await refused({ ref: 1 }, /^dashboard\.ref: /)
  await refused({ prot: 1 }, /^dashboard\.prot: is not an option; did you mean dashboard\.port\?$/)
  await refused(null, /^dashboard: must be an object/)
  assert.throws(() => line.dashboardHandler({ path: 'x' }), /dashboard\.path: must be a path that begins with '\/'/)
  // What was refused has left nothing behind.
  assert.equal((await ask(dashboard.url)).status, 200)
})

test('the handler is mounted below a path of a server of node:http', async (t) => {
  const { line } = await start(t)
  const handler = line.dashboardHandler({ path: '/ops/trunkline' })
  const server = createServer((req, res) => {
    handler(req, res, () => res.writeHead(418).end('somebody else'))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const at = `http://127.0.0.1:${server.address().port}`
  assert.match((await ask(`${at}/ops/trunkline/?x=1`)).text, /^<!doctype html>/)
  assert.equal(JSON.parse((await ask(`${at}/ops/trunkline/snapshot`)).text).metrics.requests.started, 0)
  for (const path of ['/', '/data', '/ops', '/ops/trunklines', '/ops/trunkline/nothing'])
    assert.equal((await ask(`${at}${path}`)).status, 418, path)
  // What the page asks for is beside it, so its address has to end with a slash.
  const { status, headers } = await ask(`${at}/ops/trunkline`)
  assert.equal(status, 302)
  assert.equal(new URL(headers.location, `${at}/ops/trunkline`).href, `${at}/ops/trunkline/`)
  // Another's name is not let in by a server that listens to it.
  assert.equal((await ask(`${at}/ops/trunkline/`, { host: 'evil.example' })).status, 403)

  handler.close()
  assert.equal((await ask(`${at}/ops/trunkline/`)).status, 503)
})

test('the handler is mounted as Express mounts what it is given', async (t) => {
  const { line } = await start(t)
  const handler = line.dashboardHandler()
  t.after(() => handler.close())
  // As express's router does: the prefix is taken off the URL, and told beside it.
  const server = createServer((req, res) => {
    const [path, query] = req.url.split('?')
    if (path !== '/trunk' && !path.startsWith('/trunk/')) return res.writeHead(404).end()
    req.originalUrl = req.url
    req.baseUrl = '/trunk'
    req.url = (path.slice('/trunk'.length) || '/') + (query === undefined ? '' : `?${query}`)
    handler(req, res, () => res.writeHead(404).end())
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const at = `http://127.0.0.1:${server.address().port}`
  const moved = await ask(`${at}/trunk`)
  assert.equal(new URL(moved.headers.location, `${at}/trunk`).pathname, '/trunk/')
  assert.match((await ask(`${at}/trunk/`)).text, /^<!doctype html>/)
  assert.equal((await ask(`${at}/trunk/snapshot`)).status, 200)
})

test('a dashboard ends with its client, and with it whoever looks', async (t) => {
  const { line, dashboard } = await shown(t)
  const { events } = follow(`${dashboard.url}data`)
  await until(() => events.length >= 2)
  await line.close()
  await until(() => events.closed)
  await assert.rejects(ask(dashboard.url), { code: 'ECONNREFUSED' })
  assert.equal((await rejection(line.dashboard())).code, 'ERR_CLOSED')
  assert.throws(() => line.dashboardHandler(), { code: 'ERR_CLOSED' })
  await dashboard.close()
})

test('once it is closed calls are not watched any more', async (t) => {
  const { channel } = await import('node:diagnostics_channel')
  const { dashboard } = await shown(t)
  assert.ok(channel('trunkline:request:end').hasSubscribers)
  await Promise.all([dashboard.close(), dashboard.close()])
  assert.ok(!channel('trunkline:request:end').hasSubscribers)
})

test('a handler that was dropped holds neither its client nor itself', async () => {
  const dropped = (() => {
    const line = new Trunkline(own({ baseURL: 'http://127.0.0.1:9/v1', apiKey: 'sk-test-key' }))
    return [new WeakRef(line), new WeakRef(line.dashboardHandler())]
  })()
  for (const reference of dropped) await collected(reference)
})

test('a handler that was dropped ends though its client goes on', async (t) => {
  const { channel } = await import('node:diagnostics_channel')
  const { line } = await start(t)
  const dropped = (() => new WeakRef(line.dashboardHandler()))()
  await collected(dropped)
  // What hears of the next call finds nobody there, and leaves.
  await line.chat(REQUEST)
  await until(async () => {
    await line.chat(REQUEST)
    globalThis.gc()
    return !channel('trunkline:request:end').hasSubscribers
  })
})

test('a client that closes while its dashboard is being opened leaves none', async (t) => {
  const { line } = await start(t)
  const opening = line.dashboard({ host: 'localhost' }).catch((error) => error)
  await line.close()
  const outcome = await opening
  // Either came first.
  if (outcome instanceof Error) assert.equal(outcome.code, 'ERR_CLOSED')
  else await assert.rejects(ask(outcome.url), { code: 'ECONNREFUSED' })
})

test('a dashboard keeps no process alive, looked at or not, unless it is asked to', async () => {
  const program = (ref) => `
    import { get } from 'node:http'
    import { Trunkline } from 'trunkline'
    const line = new Trunkline({ baseURL: 'http://127.0.0.1:9/v1', apiKey: 'sk-test-key' })
    const { url, close } = await line.dashboard({ ref: ${ref} })
    await new Promise((resolve) => get(url + 'data', (res) => res.once('data', resolve).socket.unref()))
    process.once('beforeExit', () => console.log('nothing left'))
    console.log('looked')
    if (${ref}) setImmediate(() => setImmediate(() => { console.log('still there'); close() }))
  `
  const run = async (ref) =>
    (
      await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program(ref)], {
        cwd: root,
        timeout: 60_000,
      })
    ).stdout
  assert.equal(await run(false), 'looked\nnothing left\n')
  assert.equal(await run(true), 'looked\nstill there\nnothing left\n')
})

// ── In a browser

const missing = chromium === undefined && 'SKIPPED: chromium is missing (apt-get install chromium)'
if (missing) console.log(`!! ${missing}`)

// A suite that is left out would not be counted.
test('there is a Chromium to look at the page', { skip: missing }, () => assert.ok(chromium))

describe('in Chromium', { skip: missing }, () => {
  /** @type {Browser} */
  let browser
  before(() => {
    browser = new Browser()
  })
  after(() => browser?.close())

  /** A page that has drawn figures. */
  async function opened(url, how) {
    const page = await browser.page(how)
    await page.go(url)
    await until(() => page.ask("document.querySelectorAll('[data-figure]').length > 10"), 'figures are drawn')
    return page
  }

  const figures = (page) =>
    page.ask(
      "Object.fromEntries([...document.querySelectorAll('[data-figure]')].map((node) => [node.dataset.figure, Number(node.dataset.value)]))",
    )

  test('the page shows the figures of metrics() and costs(), without an error, and asks nobody else', async (t) => {
    const { upstream, line, dashboard } = await shown(t, { budget: { limit: 1000, window: 'day' } })
    for (let call = 0; call < 7; call++) await line.chat(REQUEST)
    upstream.fault({ kind: 'status', status: 400 }, { times: 1 })
    await rejection(line.chat(REQUEST))
    const page = await opened(dashboard.url)
    await until(async () => (await figures(page))['requests.succeeded'] === 7)
    const seen = await figures(page)
    const metrics = line.metrics()
    for (const [name, value] of Object.entries(seen)) {
      const [root, ...path] = name.split('.')
      if (metrics[root] === undefined) continue
      assert.equal(
        value,
        path.reduce((of, key) => of[key], metrics[root]),
        name,
      )
    }
    for (const name of [
      'requests.inFlight',
      'latency.p50',
      'latency.p99',
      'firstByte.p90',
      'pool.opened',
      'tokens.output',
      'queue.depth.batch',
    ])
      assert.ok(name in seen, `${name} is on the page`)
    assert.ok(line.costs({ window: 'day' }).total > 0)
    assert.equal(seen['costs.today'], line.costs({ window: 'day' }).total)
    assert.equal(seen['costs.yesterday'], line.costs({ window: 'day', before: true }).total)
    assert.equal(seen['budget.all'], line.costs().budget.spent)
    assert.match(await page.ask("document.getElementById('errors').textContent"), /ERR_BAD_REQUEST/)

    await line.chat(REQUEST)
    await until(async () => (await figures(page))['requests.succeeded'] === 8, 'it is live')
    assert.deepEqual(page.errors, [])
    for (const url of page.asked) assert.ok(url.startsWith(dashboard.url) || url.startsWith('data:'), url)
  })

  test('what a model or an error is called is text, whatever it looks like', async (t) => {
    const { upstream, line, dashboard } = await shown(t)
    const evil = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>'
    await line.chat({ ...REQUEST, model: evil })
    upstream.fault(
      { kind: 'status', status: 400, body: { error: { message: evil, type: evil, code: evil } } },
      { times: 1 },
    )
    await rejection(line.chat({ ...REQUEST, model: evil }))
    const page = await opened(dashboard.url)
    assert.ok((await page.ask("document.getElementById('time').textContent")).includes(evil))
    assert.ok((await page.ask("document.getElementById('errors').textContent")).includes('<img'))
    assert.equal(await page.ask('typeof globalThis.hacked'), 'undefined')
    assert.equal(await page.ask("document.querySelectorAll('main img, main script').length"), 0)
    assert.deepEqual(page.errors, [])
  })

  test('it tells when the program has gone', async (t) => {
    const { dashboard } = await shown(t)
    const page = await opened(dashboard.url)
    await dashboard.close()
    await until(async () => (await page.ask("document.getElementById('status').textContent")) === 'not connected')
  })

  const pictures = join(root, 'target', 'dashboard')
  for (const [name, how] of Object.entries({
    light: {},
    dark: { dark: true },
    phone: { width: 390, height: 844, mobile: true },
    small: { width: 320, height: 640, mobile: true, dark: true },
  })) {
    test(`it can be read: ${name}`, async (t) => {
      const { upstream, line, dashboard } = await shown(t, {
        budget: { limit: 1000, window: 'day', unpriced: 'allow' },
      })
      for (const model of ['gpt-test', 'a-model-with-a-name-as-long-as-names-of-models-can-be-2026-11-21'])
        await Promise.all(Array.from({ length: 5 }, () => line.chat({ ...REQUEST, model })))
      upstream.fault({ kind: 'status', status: 400 }, { times: 1 })
      await rejection(line.chat(REQUEST))
      const page = await opened(dashboard.url, how)
      // What is too wide widens the window of a phone.
      const wide = Math.max(...(await page.ask('[document.documentElement.scrollWidth, innerWidth]')))
      assert.ok(wide <= (how.width ?? 1280), `the page is ${wide} wide in a window of ${how.width ?? 1280}`)
      // By WCAG 2: words against what is behind them, and every picture has words.
      assert.deepEqual(await page.ask(`(${unreadable.toString()})()`), [])
      assert.equal(await page.ask("document.querySelectorAll('svg:not([aria-hidden]):not([aria-label])').length"), 0)
      assert.deepEqual(page.errors, [])
      mkdirSync(pictures, { recursive: true })
      writeFileSync(join(pictures, `${name}.png`), await page.picture())
    })
  }
})

test('advice on one connection, one call, is said of one', async () => {
  const { default: advice } = await import('../lib/dashboard/advice.js')
  const metrics = (max) => ({ pool: { connections: { max } } })
  const at = (calls, more) => ({
    calls,
    took: calls * 100,
    waited: calls * 50,
    turns: 0,
    opened: 0,
    handshakes: 0,
    waiting: 0,
    ...more,
  })
  const of = (max, busy, wanted, waiting = 0) =>
    advice.advise([at(0, { busy, wanted }), at(10, { busy, wanted, waiting })], metrics(max)).text
  assert.match(of(1, 1, 1), /, with the one connection in use\. Up to 1 call wanted one at a time/)
  assert.match(of(2, 2, 3), /, with all 2 connections in use\. Up to 3 calls wanted one at a time/)
  assert.match(
    of(5, 1, 1, 1),
    /, though at most 1 of 5 connections was in use: .* Up to 1 call wanted a connection at a time/,
  )
  assert.match(of(5, 2, 2), /, though at most 2 of 5 connections were in use: /)
})

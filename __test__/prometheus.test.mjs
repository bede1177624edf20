// What Prometheus sees, held against what the stand-in has counted, against `metrics()` and against `costs()`; and by Prometheus' own tools.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import prom from 'prom-client'
import { ConfigError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'
import { freePort } from './ports.mjs'
import { has, parse, promtool, serve } from './prometheus/text.mjs'
import { client, own, REQUEST, rejection, root, start, until } from './support.mjs'

const usage = {
  prompt_tokens: 60,
  completion_tokens: 20,
  total_tokens: 80,
  prompt_tokens_details: { cached_tokens: 10 },
  completion_tokens_details: { reasoning_tokens: 5 },
}
const pricing = { a: { input: 1000, cachedInput: 100, output: 2000 }, b: { input: 1, output: 1 } }
const ask = (model, content = 'hi') => ({ model, temperature: 0, messages: [{ role: 'user', content }] })

/** So that there is something to tell of limits. */
const LIMITED = { rateLimit: { requestsPerSecond: 10_000, tokensPerMinute: 1e9, burst: 10_000 } }

/** One of everything: two models, streams, embeddings, a retry, errors, answers from memory, one that is left. */
async function scene(t, options = {}) {
  const { upstream, line } = await start(t, {
    pricing,
    cache: {},
    retry: { strategy: 'immediate' },
    budget: { limit: 100, window: 'day', unpriced: 'allow' },
    ...options,
  })
  upstream.reply({ model: 'a' }, { content: 'hello there', usage })
  for (let n = 0; n < 5; n++) await line.chat(ask('a', `chat ${n}`))
  for (let n = 0; n < 3; n++) await line.stream(ask('b', `stream ${n}`)).finalText()
  // From memory.
  for (let n = 0; n < 2; n++) await line.chat(ask('a', 'chat 0'))
  await Promise.all([0, 1, 2].map(() => line.chat(ask('a', 'together'))))
  await line.embed({ model: 'e', input: ['one', 'two'] })
  upstream.fault({ kind: 'status', status: 503 }, { times: 1, model: 'a' })
  await line.chat(ask('a', 'again'))
  upstream.fault({ kind: 'status', status: 400 }, { times: 2, model: 'b' })
  for (let n = 0; n < 2; n++) assert.equal((await rejection(line.chat(ask('b', `bad ${n}`)))).status, 400)
  upstream.fault({ kind: 'silence' }, { times: 1, model: 'a' })
  const before = upstream.requests.length
  const left = new AbortController()
  const call = rejection(line.chat(ask('a', 'left'), { signal: left.signal }))
  await until(() => upstream.requests.length > before)
  left.abort()
  await call
  await line.fetch(`${upstream.url}/v1/models`).then((answer) => answer.text())
  await line.fetch(`${upstream.url}/nowhere`).then((answer) => answer.text())
  await until(() => line.metrics().requests.inFlight === 0)
  return { upstream, line }
}

test('every figure is what the upstream has counted, and what metrics() and costs() say', async (t) => {
  const { upstream, line } = await scene(t)
  const { sum, samples } = parse(line.prometheus())
  const metrics = line.metrics()
  const { requests, pool, cache, latency, firstByte, tokens } = metrics
  const costs = line.costs()

  // What the upstream was asked, by model.
  const asked = (model) => upstream.requests.filter(({ body }) => body?.model === model).length
  assert.deepEqual([asked('a'), asked('b'), asked('e')], [9, 5, 1])
  const ended = (labels) => sum('trunkline_requests_total', { provider: 'default', ...labels })
  // Ten calls answered, of which four by memory; one that was left. Nine requests: one was tried twice, and four were none.
  assert.deepEqual([ended({ model: 'a', status: '200', error: '' }), ended({ model: 'a' })], [11, 12])
  assert.equal(ended({ model: 'a', error: 'ERR_ABORTED', status: '' }), 1)
  assert.equal(
    ended({ model: 'a' }) - sum('trunkline_cached_requests_total') - sum('trunkline_coalesced_requests_total'),
    8,
  )
  assert.equal(sum('trunkline_retries_total', { model: 'a' }), asked('a') - 8)
  assert.deepEqual([ended({ model: 'b', status: '200' }), ended({ model: 'b', status: '400' })], [3, 2])
  assert.equal(ended({ model: 'b', error: 'ERR_BAD_REQUEST' }), 2)
  assert.equal(ended({ model: 'e', status: '200' }), asked('e'))
  const fetched = (labels) => sum('trunkline_requests_total', { provider: '(fetch)', model: '(none)', ...labels })
  assert.deepEqual([fetched({ status: '200', error: '' }), fetched({ status: '404', error: 'ERR_API' })], [1, 1])

  // The same as metrics() has.
  assert.equal(sum('trunkline_requests_total', { error: '' }), requests.succeeded)
  assert.equal(sum('trunkline_requests_total', { error: 'ERR_ABORTED' }), requests.aborted)
  assert.equal(sum('trunkline_requests_total'), requests.started)
  assert.deepEqual(
    ['retries', 'failovers', 'hedges', 'cached_requests', 'coalesced_requests'].map((name) =>
      sum(`trunkline_${name}_total`),
    ),
    [requests.retried, requests.failedOver, requests.hedged, requests.cached, requests.coalesced],
  )
  const close = (seconds, { count, mean }) => Math.abs(seconds * 1000 - count * mean) < 0.001 * count + 0.001
  for (const [name, spread] of [
    ['request_duration', latency],
    ['first_byte', firstByte],
    ['pool_handshake', pool.handshake],
    ['pool_wait', pool.acquireWait],
    ['turn_wait', metrics.queue.turns],
  ]) {
    assert.equal(sum(`trunkline_${name}_seconds_count`), spread.count, name)
    assert.equal(sum(`trunkline_${name}_seconds_bucket`, { le: '+Inf' }), spread.count, name)
    assert.ok(close(sum(`trunkline_${name}_seconds_sum`), spread), name)
  }
  const buckets = samples.filter(
    ({ name, labels }) => name === 'trunkline_request_duration_seconds_bucket' && labels.model === 'a',
  )
  for (const [n, { value }] of buckets.entries()) assert.ok(n === 0 || value >= buckets[n - 1].value)
  // Whatever came as an answer of a model's, and not from memory.
  assert.equal(sum('trunkline_output_tokens_per_second_count', { model: 'a' }), 7)
  assert.equal(sum('trunkline_output_tokens_per_second_count', { model: 'b' }), 3)

  assert.deepEqual(
    ['hits', 'misses', 'evicted', 'expired'].map((name) => sum(`trunkline_cache_${name}_total`)),
    [cache.hits, cache.misses, cache.evicted, cache.expired],
  )
  assert.deepEqual(
    ['entries', 'bytes', 'max_bytes'].map((name) => sum(`trunkline_cache_${name}`)),
    [cache.entries, cache.bytes, cache.maxBytes],
  )
  assert.deepEqual(
    [sum('trunkline_sent_bytes_total'), sum('trunkline_received_bytes_total')],
    [metrics.bytes.sent, metrics.bytes.received],
  )

  // Tokens and dollars are those of costs().
  const of = (type) => sum('trunkline_tokens_total', { model: 'a', type })
  const a = costs.byModel.a
  assert.deepEqual(
    [of('input') + of('input_cached') + of('input_cache_write'), of('input_cached')],
    [a.inputTokens, a.cachedInputTokens],
  )
  assert.deepEqual([of('output') + of('output_reasoning'), of('output_reasoning')], [a.outputTokens, a.reasoningTokens])
  assert.deepEqual([of('input_cached'), of('output_reasoning')], [7 * 10, 7 * 5])
  for (const [model, row] of Object.entries(costs.byModel)) {
    assert.equal(sum('trunkline_cost_dollars_total', { model }), row.cost)
    assert.equal(sum('trunkline_cost_estimated_dollars_total', { model }), row.estimated)
    assert.equal(sum('trunkline_charged_requests_total', { model }), row.requests)
    assert.equal(sum('trunkline_unpriced_requests_total', { model }), row.unpriced)
  }
  assert.ok(Math.abs(sum('trunkline_cost_dollars_total') - costs.total) < 1e-12 && costs.total === metrics.cost)
  assert.equal(sum('trunkline_unpriced_requests_total'), 1, 'that of e')
  assert.ok(sum('trunkline_tokens_total') >= tokens.input + tokens.output, 'those that are estimated included')
  assert.equal(sum('trunkline_cost_saved_dollars_total'), line.savings().costSaved)
  const [limit, spent] = ['limit', 'spent'].map((what) =>
    sum(`trunkline_budget_${what}`, { unit: 'usd', window: 'day' }),
  )
  assert.deepEqual([limit, spent], [100, costs.budget.spent])

  // The pool's, and what the upstream saw of it.
  assert.equal(sum('trunkline_pool_connections_opened_total'), upstream.connections.opened)
  assert.equal(sum('trunkline_pool_connections_opened_total'), pool.opened)
  assert.equal(sum('trunkline_pool_connections_reused_total'), pool.reused)
  assert.equal(pool.opened + pool.reused, upstream.requests.length)
  assert.ok(Math.abs(sum('trunkline_pool_handshake_saved_seconds_total') * 1000 - pool.handshakeTimeSaved) < 1e-6)
  for (const [reason, count] of Object.entries(pool.closed))
    assert.equal(sum('trunkline_pool_connections_closed_total', { reason }), count)
  for (const state of ['active', 'idle', 'connecting', 'draining']) {
    const here = sum('trunkline_pool_connections', { origin: upstream.url, provider: 'default', state })
    assert.equal(here, pool.connections[state], state)
  }
  assert.equal(sum('trunkline_pool_connections_max'), pool.connections.max)
  assert.equal(sum('trunkline_build_info'), 1)
  assert.ok(Math.abs(sum('trunkline_start_time_seconds') * 1000 - (Date.now() - metrics.uptime)) < 60_000)
})

test('circuits, limits, throttling and queues are as metrics() has them', async (t) => {
  const { upstream, line } = await start(t, {
    retry: false,
    circuitBreaker: { failureThreshold: 3, recoveryTimeout: 60_000 },
    concurrency: { max: 1 },
  })
  upstream.reply(
    { model: 'b' },
    {
      content: 'x',
      headers: {
        'x-ratelimit-remaining-requests': '41',
        'x-ratelimit-remaining-tokens': '9000',
        'x-ratelimit-limit-requests': '100',
        'x-ratelimit-limit-tokens': '10000',
        'x-ratelimit-reset-requests': '60s',
        'x-ratelimit-reset-tokens': '60s',
      },
    },
  )
  await line.chat(ask('b'))
  upstream.fault({ kind: 'status', status: 500 }, { times: 3, model: 'a' })
  for (let n = 0; n < 3; n++) await rejection(line.chat(ask('a')))
  assert.equal((await rejection(line.chat(ask('a')))).code, 'ERR_CIRCUIT_OPEN')
  upstream.fault({ kind: 'status', status: 429, headers: { 'retry-after': '0' } }, { times: 1, model: 'c' })
  await rejection(line.chat(ask('c')))
  upstream.fault({ kind: 'silence' }, { times: 1, model: 'b' })
  const left = new AbortController()
  const held = [rejection(line.chat(ask('b'), { signal: left.signal }))]
  await until(() => line.metrics().requests.inFlight === 1)
  held.push(rejection(line.chat(ask('b'), { signal: left.signal, priority: 'batch' })))
  await until(() => line.metrics().queue.depth.batch === 1)

  const { sum, samples } = parse(line.prometheus())
  const { limits, queue } = line.metrics()
  const state = (model) =>
    samples.find(
      ({ name, labels, value }) => name === 'trunkline_circuit_state' && labels.model === model && value === 1,
    )
  assert.deepEqual(
    [state('a').labels.state, state('b').labels.state, state('').labels.state],
    ['open', 'closed', 'closed'],
  )
  assert.equal(sum('trunkline_circuit_transitions_total', { state: 'open' }), 1)
  assert.equal(sum('trunkline_requests_total', { model: 'a', error: 'ERR_CIRCUIT_OPEN', status: '' }), 1)
  const left_ = (kind) => sum('trunkline_rate_limit_remaining', { provider: 'default', model: 'b', kind })
  assert.equal(left_('requests'), limits['default/b'].requestsRemaining)
  assert.equal(left_('tokens'), limits['default/b'].tokensRemaining)
  assert.equal(sum('trunkline_throttled_total', { provider: 'default' }), 1)
  for (const [priority, depth] of Object.entries(queue.depth)) {
    const here = sum('trunkline_turn_queue_depth', { priority }) + sum('trunkline_pool_queue_depth', { priority })
    assert.equal(here, depth, priority)
  }
  assert.deepEqual(
    [sum('trunkline_requests_in_flight'), sum('trunkline_turn_queue_depth', { priority: 'batch' })],
    [2, 1],
  )
  left.abort()
  await Promise.all(held)
})

test('a step to another target counts at the one that failed, and the call at the one that answered', async (t) => {
  const upstreams = await Promise.all([MockUpstream.start(), MockUpstream.start()])
  const [first, second] = upstreams
  const provider = ({ url }) => ({ protocol: 'openai', baseURL: `${url}/v1`, apiKey: 'k' })
  const line = new Trunkline(
    own({
      providers: { first: provider(first), second: provider(second) },
      routes: {
        smart: [
          { provider: 'first', model: 'a' },
          { provider: 'second', model: 'b' },
        ],
      },
      retry: { maxRetries: 1, strategy: 'immediate' },
    }),
  )
  t.after(async () => {
    await line.close()
    await Promise.all(upstreams.map((upstream) => upstream.close()))
  })
  first.fault({ kind: 'status', status: 503 }, { times: 2 })
  await line.chat(ask('smart'))
  const { sum } = parse(line.prometheus())
  const at = (name) => [
    sum(`trunkline_${name}_total`, { provider: 'first', model: 'a' }),
    sum(`trunkline_${name}_total`, { provider: 'second', model: 'b' }),
  ]
  assert.deepEqual(
    [at('requests'), at('retries'), at('failovers')],
    [
      [0, 1],
      [1, 0],
      [1, 0],
    ],
  )
  assert.equal(first.requests.length + second.requests.length, 3)
})

test('streams in use stand beside what there is room for', async (t) => {
  const { upstream, line } = await start(t, { upstream: { tls: true, maxConcurrentStreams: 7 } })
  upstream.fault({ kind: 'silence' }, { times: 2 })
  const left = new AbortController()
  const held = [1, 2].map(() => rejection(line.chat(REQUEST, { signal: left.signal })))
  await until(() => upstream.requests.length === 2)
  const { sum } = parse(line.prometheus())
  const { streams } = line.metrics().pool
  assert.deepEqual([sum('trunkline_pool_streams'), sum('trunkline_pool_streams_max')], [2, streams.capacity])
  left.abort()
  await Promise.all(held)
})

test('a hundred models have figures of their own, others share theirs, and no name of theirs is long', async (t) => {
  const { line } = await start(t)
  const models = Array.from({ length: 130 }, (_, n) => `model-${n}`)
  for (const model of [...models, 'x'.repeat(10_240), 'say "hi"\n\\']) await line.chat(ask(model))
  const { samples, sum } = parse(line.prometheus())
  const named = new Set(
    samples.map(({ labels }) => labels.model).filter((model) => model !== undefined && model !== ''),
  )
  assert.equal(named.size, 101)
  assert.equal(sum('trunkline_requests_total', { model: '(others)' }), 32)
  assert.equal(sum('trunkline_charged_requests_total', { model: '(others)' }), 32)
  assert.equal(sum('trunkline_requests_total'), 132)
  for (const { labels } of samples) for (const value of Object.values(labels)) assert.ok(value.length <= 256)
  assert.ok(samples.length < 8000, `${samples.length} series`)
})

test('labels of the caller’s are on every figure, and what is no label is refused by its path', async (t) => {
  const { line } = await start(t)
  await line.chat(ask('say "hi"\n\\'))
  const { samples } = parse(line.prometheus({ labels: { service: 'a "b"\n\\c' } }))
  assert.ok(samples.every(({ labels }) => labels.service === 'a "b"\n\\c'))
  assert.ok(samples.some(({ labels }) => labels.model === 'say "hi"\n\\'))
  for (const [options, message] of [
    [{ labels: { service: 'x'.repeat(10_240) } }, /^labels\.service: must be at most 256 bytes, got 10240$/],
    [{ labels: { provider: 'x' } }, /^labels\.provider: is a label that figures have already$/],
    [{ labels: { 'a-b': 'x' } }, /^labels: must have names of letters, digits and underscores, got 'a-b'$/],
    [{ labels: { n: 1 } }, /^labels\.n: must be a string, got a number/],
    [{ labels: null }, /^labels: must be an object of strings, got null$/],
    [{ format: 'xml' }, /^format: must be /],
    [{ fromat: 'prometheus' }, /^fromat: is not an option/],
    [null, /^options: must be an object/],
  ]) {
    assert.throws(
      () => line.prometheus(options),
      (error) => error instanceof ConfigError && message.test(error.message),
    )
  }
  assert.throws(
    () => line.registerMetrics({}),
    /^ConfigError: register: must be a Registry of prom-client, got an object/,
  )
  assert.throws(() => line.registerMetrics(new prom.Registry(), { labels: { le: 'x' } }), /labels\.le/)
})

test('docs/metrics.md has every figure, with its type and labels', async (t) => {
  const { line } = await scene(t, LIMITED)
  const { families, samples } = parse(line.prometheus())
  const page = await readFile(join(root, 'docs/metrics.md'), 'utf8')
  const rows = [...page.matchAll(/^\| `(trunkline_\w+)` \| (\w+) \| (.*?) \| (.*) \|$/gm)]
  const told = Object.fromEntries(
    rows.map(([, name, type, labels, help]) => [
      name,
      { type, help, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label).sort() },
    ]),
  )
  assert.deepEqual(Object.keys(told).sort(), [...families.keys()].sort())
  for (const [name, { type, help }] of families) {
    assert.deepEqual([told[name].type, told[name].help], [type, help], name)
    for (const { labels } of samples.filter(
      (sample) => sample.name.replace(/_(bucket|sum|count)$/, '') === name || sample.name === name,
    )) {
      const names = Object.keys(labels).filter((label) => label !== 'le')
      assert.deepEqual(names.sort(), told[name].labels, name)
    }
  }
})

test('promtool finds nothing to say of the text, nor of the rules for alerts', {
  skip: !has('promtool'),
}, async (t) => {
  const { line } = await scene(t)
  const checked = promtool(['check', 'metrics'], line.prometheus({ labels: { service: 'a "b"\n\\c' } }))
  assert.deepEqual(checked, { status: 0, said: '' })
  const rules = promtool(['check', 'rules', '--lint=all', '--lint-fatal', join(root, 'docs/prometheus-rules.yml')])
  assert.equal(rules.status, 0, rules.said)
  assert.equal(promtool(['check', 'metrics'], 'x{a="b} 1\n').status, 1, 'it is one that finds something')
})

test('a Prometheus scrapes both formats, sees the same, and knows every name that the dashboard and the rules ask for', {
  skip: !has('prometheus'),
}, async (t) => {
  const { line } = await scene(t)
  const types = {
    prometheus: 'text/plain; version=0.0.4; charset=utf-8',
    openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
  }
  const server = createServer((request, response) => {
    const format = request.url.slice(1)
    response.setHeader('content-type', types[format])
    response.end(line.prometheus({ format }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const folder = await mkdtemp(join(tmpdir(), 'trunkline-prometheus-'))
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  const job = (format) => ({
    job_name: format,
    metrics_path: `/${format}`,
    scrape_interval: '1s',
    scrape_timeout: '1s',
    static_configs: [{ targets: [`127.0.0.1:${server.address().port}`] }],
  })
  const config = join(folder, 'prometheus.yml')
  // JSON is YAML.
  const rules = join(root, 'docs/prometheus-rules.yml')
  await writeFile(config, JSON.stringify({ scrape_configs: Object.keys(types).map(job), rule_files: [rules] }))
  const query = await serve(t, { config, data: join(folder, 'data'), port: await freePort(), until })
  await until(async () => (await query('sum(up)'))[0]?.value[1] === '2', 'both are scraped')

  const by = async (job) =>
    new Map(
      (await query(`{job="${job}",__name__=~"trunkline_.*"}`)).map(({ metric: { job, ...metric }, value }) => [
        JSON.stringify(Object.entries(metric).sort()),
        value[1],
      ]),
    )
  // A scrape that came too late on a busy machine takes its series away until the next one.
  const [text, open] = await until(async () => {
    const both = [await by('prometheus'), await by('openmetrics')]
    return both.every(({ size }) => size > 200) && both
  }, 'both have their series')
  assert.deepEqual([...open.keys()].sort(), [...text.keys()].sort())
  for (const [series, value] of text) assert.equal(open.get(series), value, series)
  assert.equal(
    (await query('sum(trunkline_requests_total{job="prometheus"})'))[0].value[1],
    String(line.metrics().requests.started),
  )

  const dashboard = JSON.parse(await readFile(join(root, 'docs/grafana-dashboard.json'), 'utf8'))
  for (const { expr } of targetsOf(dashboard)) await query(filledIn(expr))
})

test('the dashboard asks for what there is, in panels that do not lie on each other', async (t) => {
  const { line } = await scene(t, LIMITED)
  const { samples } = parse(line.prometheus())
  const dashboard = JSON.parse(await readFile(join(root, 'docs/grafana-dashboard.json'), 'utf8'))
  assert.ok(dashboard.schemaVersion >= 36 && dashboard.uid && dashboard.title)
  assert.deepEqual(
    dashboard.templating.list.map(({ name }) => name),
    ['datasource', 'job', 'instance', 'model'],
  )
  const exported = new Set(samples.map(({ name }) => name))
  const rules = await readFile(join(root, 'docs/prometheus-rules.yml'), 'utf8')
  const asked = [rules, ...targetsOf(dashboard).map(({ expr }) => expr)].join('\n').match(/trunkline_[a-z_]+\b/g)
  assert.deepEqual(
    asked.filter((name) => !exported.has(name)),
    [],
  )
  const ids = dashboard.panels.map(({ id }) => id)
  assert.equal(new Set(ids).size, ids.length)
  const cells = new Set()
  for (const { title, type, gridPos, targets, datasource } of dashboard.panels) {
    assert.ok(title && gridPos.x + gridPos.w <= 24, title)
    if (type !== 'row') assert.ok(targets.length > 0 && /^\$\{datasource\}$/.test(datasource.uid), title)
    for (let x = 0; x < gridPos.w; x++) {
      for (let y = 0; y < gridPos.h; y++) {
        const cell = `${gridPos.x + x} ${gridPos.y + y}`
        assert.ok(!cells.has(cell), `${title} lies on another panel`)
        cells.add(cell)
      }
    }
  }
})

test('a registry of prom-client has the same figures as the text, beside its own', async (t) => {
  const { line } = await scene(t)
  const register = new prom.Registry()
  new prom.Counter({ name: 'mine_total', help: 'Mine.', registers: [register] }).inc()
  const remove = line.registerMetrics(register)
  const plain = (text) =>
    parse(text)
      .samples.filter(({ name }) => name !== 'mine_total' && !name.startsWith('trunkline_start'))
      .map((sample) => JSON.stringify(sample))
      .sort()
  assert.deepEqual(plain(await register.metrics()), plain(line.prometheus()))
  await line.chat(ask('a', 'one more'))
  assert.deepEqual(plain(await register.metrics()), plain(line.prometheus()), 'those of now')
  assert.equal(
    (await register.getMetricsAsJSON()).find(({ name }) => name === 'trunkline_requests_total').type,
    'counter',
  )
  register.resetMetrics()
  assert.deepEqual(plain(await register.metrics()), plain(line.prometheus()), 'nobody resets what was counted')
  assert.ok((await register.getSingleMetricAsString('trunkline_requests_total')).includes('model="a"'))
  remove()
  remove()
  assert.equal(parse(await register.metrics()).samples.length, 1)

  const open = new prom.Registry(prom.Registry.OPENMETRICS_CONTENT_TYPE)
  const forget = line.registerMetrics(open)
  const text = await open.metrics()
  assert.ok(text.endsWith('# EOF\n'))
  assert.deepEqual(plain(text), plain(line.prometheus({ format: 'openmetrics' })))
  forget()
  assert.deepEqual(open.getMetricsAsArray(), [])
})

test('clients side by side in one registry have labels of their own, and one that leaves takes only its figures', async (t) => {
  const { upstream, line } = await start(t)
  const other = client(t, upstream)
  await Promise.all([line.chat(ask('a')), other.chat(ask('a')), other.chat(ask('a'))])
  const register = new prom.Registry()
  line.registerMetrics(register, { labels: { client: 'one' } })
  assert.throws(
    () => other.registerMetrics(register, { labels: { client: 'one' } }),
    /^ConfigError: labels: must be others/,
  )
  const remove = other.registerMetrics(register, { labels: { client: 'two' } })
  const counts = async () => {
    const { sum } = parse(await register.metrics())
    return ['one', 'two'].map((client) => sum('trunkline_requests_total', { client }))
  }
  assert.deepEqual(await counts(), [1, 2])
  remove()
  assert.deepEqual(await counts(), [1, 0])
  // A name that is taken is the registry's to tell of, and nothing of ours is left in it.
  const taken = new prom.Registry()
  new prom.Gauge({ name: 'trunkline_cache_bytes', help: 'x', registers: [taken] })
  assert.throws(() => line.registerMetrics(taken), /trunkline_cache_bytes has already been registered/)
  assert.equal(taken.getMetricsAsArray().length, 1)
})

test('the figures are there after the client was closed', async (t) => {
  const { line } = await start(t)
  await line.chat(ask('a'))
  await line.close()
  const { sum } = parse(line.prometheus())
  assert.deepEqual([sum('trunkline_requests_total'), sum('trunkline_pool_connections_closed_total')], [1, 1])
})

/** All queries of a dashboard. */
function targetsOf(dashboard) {
  return dashboard.panels.flatMap(({ targets = [] }) => targets)
}

/** A query as Grafana would send it, with nothing selected. */
function filledIn(expr) {
  return expr
    .replaceAll('$__rate_interval', '1m')
    .replaceAll('$__range', '1h')
    .replace(/\$(job|instance|model)\b/g, '.*')
}

// Spans and metrics by OpenTelemetry's conventions, read from the SDK's own exporters in memory.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { Module } from 'node:module'
import test from 'node:test'
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import {
  AlwaysOffSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { ConfigError, Trunkline } from 'trunkline'
import { instrument } from 'trunkline/otel'
import { MockUpstream } from 'trunkline/testing'
import { client, collect, collected, own, REQUEST, rejection, start } from './support.mjs'

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
// As the propagator of the W3C's trace context, which is in a package of its own.
propagation.setGlobalPropagator({
  inject(of, carrier, setter) {
    const { traceId, spanId, traceFlags } = trace.getSpanContext(of)
    setter.set(carrier, 'traceparent', `00-${traceId}-${spanId}-0${traceFlags}`)
  },
  extract: (of) => of,
  fields: () => ['traceparent'],
})

/** Providers that keep what they get, and a client that tells them. */
function tell(t, line, options = {}) {
  const exporter = new InMemorySpanExporter()
  const tracerProvider = new BasicTracerProvider({
    spanProcessors: [new SimpleSpanProcessor(exporter)],
    ...options.tracing,
  })
  const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  const { tracing: _, ...rest } = options
  const stop = instrument(line, { tracerProvider, meterProvider, ...rest })
  t.after(async () => {
    stop()
    await tracerProvider.shutdown()
    await meterProvider.shutdown()
  })
  return {
    stop,
    tracer: tracerProvider.getTracer('test'),
    spans: () => exporter.getFinishedSpans(),
    reset: () => exporter.reset(),
    /** The points of a metric: attributes, and its histogram. */
    async points(name) {
      await reader.forceFlush()
      const [{ scopeMetrics }] = metrics.getMetrics().slice(-1)
      const found = scopeMetrics.flatMap(({ metrics }) => metrics).find(({ descriptor }) => descriptor.name === name)
      return { descriptor: found?.descriptor, points: found?.dataPoints ?? [] }
    },
  }
}

const seconds = ([seconds, nanos]) => seconds + nanos / 1e9
const events = (span) => span.events.map(({ name }) => name.replace('trunkline.', ''))

test('a chat is a client span by the GenAI conventions, child of the span around it', async (t) => {
  const { upstream, line } = await start(t)
  const usage = {
    prompt_tokens: 11,
    completion_tokens: 7,
    total_tokens: 18,
    prompt_tokens_details: { cached_tokens: 3 },
    completion_tokens_details: { reasoning_tokens: 2 },
  }
  upstream.reply({}, { content: 'The answer', usage })
  const { tracer, spans } = tell(t, line)
  const parent = tracer.startSpan('parent')
  const request = {
    ...REQUEST,
    temperature: 0.5,
    max_completion_tokens: 99,
    seed: 1,
    top_p: 0.9,
    stop: ['x'],
    response_format: { type: 'json_object' },
  }
  const { data } = await context.with(trace.setSpan(context.active(), parent), () => line.chat(request).withMeta())
  const [span] = spans()
  assert.equal(spans().length, 1)
  assert.equal(span.name, 'chat gpt-test')
  assert.equal(span.kind, SpanKind.CLIENT)
  assert.equal(span.parentSpanContext.spanId, parent.spanContext().spanId)
  assert.equal(span.instrumentationScope.name, 'trunkline')
  assert.equal(span.status.code, SpanStatusCode.UNSET)
  const { port } = new URL(upstream.url)
  assert.deepEqual(span.attributes, {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'openai',
    'gen_ai.request.model': 'gpt-test',
    'gen_ai.request.temperature': 0.5,
    'gen_ai.request.max_tokens': 99,
    'gen_ai.request.seed': 1,
    'gen_ai.request.top_p': 0.9,
    'gen_ai.request.stop_sequences': ['x'],
    'gen_ai.output.type': 'json',
    'gen_ai.response.id': data.id,
    'gen_ai.response.model': 'gpt-test',
    'gen_ai.response.finish_reasons': ['stop'],
    'gen_ai.usage.input_tokens': 11,
    'gen_ai.usage.output_tokens': 7,
    'gen_ai.usage.cache_read.input_tokens': 3,
    'gen_ai.usage.reasoning.output_tokens': 2,
    'server.address': '127.0.0.1',
    'server.port': Number(port),
    'trunkline.attempts': 1,
    ...(span.attributes['trunkline.request_id'] && { 'trunkline.request_id': span.attributes['trunkline.request_id'] }),
  })
  const { traceId, spanId } = span.spanContext()
  assert.equal(upstream.requests[0].headers.traceparent, `00-${traceId}-${spanId}-01`)
  assert.deepEqual(events(span), ['attempt', 'sent', 'first_byte', 'attempt_end'])
  const times = [span.startTime, ...span.events.map(({ time }) => time), span.endTime].map(seconds)
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
    'each at its time',
  )
  const [, sent] = span.events
  assert.equal(sent.attributes['trunkline.connection.reused'], false)
  assert.ok(sent.attributes['trunkline.connect'] >= 0 && sent.attributes['trunkline.queued'] >= 0)
})

test('what is said is never recorded unless it is asked for', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({}, { content: 'AnSwEr' })
  const silent = tell(t, line)
  const request = {
    ...REQUEST,
    messages: [
      { role: 'system', content: 'SyStEm' },
      { role: 'user', content: 'PrOmPt' },
    ],
    user: 'UsEr',
  }
  await line.chat(request)
  await collect(line.stream(request))
  await line.embed({ model: 'e', input: 'PrOmPt' })
  await line.post('/things?key=QuErY', { body: 'PrOmPt' }).catch(() => {})
  await line
    .fetch(`${upstream.url}/v1/x?key=QuErY`, { method: 'POST', body: 'PrOmPt' })
    .then((response) => response.text())
  upstream.fault({ kind: 'status', status: 400, body: { error: { message: 'PrOmPt' } } })
  await rejection(line.chat(request))
  const all = JSON.stringify(
    silent.spans().map(({ name, attributes, events, status }) => ({ name, attributes, events, status })),
  )
  assert.equal(silent.spans().length, 6)
  for (const secret of ['AnSwEr', 'PrOmPt', 'SyStEm', 'UsEr', 'QuErY', 'sk-test-key'])
    assert.ok(!all.includes(secret), secret)
  silent.stop()

  const open = tell(t, line, { captureContent: true })
  const calls = [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }]
  const messages = [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'see' },
        { type: 'image_url', image_url: { url: 'https://a.test/i.png' } },
      ],
    },
    { role: 'assistant', content: null, tool_calls: calls },
    { role: 'tool', tool_call_id: 'c1', content: 'done' },
  ]
  await line.chat({ ...REQUEST, messages })
  const [{ attributes }] = open.spans()
  assert.deepEqual(JSON.parse(attributes['gen_ai.input.messages']), [
    {
      role: 'user',
      parts: [
        { type: 'text', content: 'see' },
        { type: 'uri', modality: 'image', uri: 'https://a.test/i.png' },
      ],
    },
    { role: 'assistant', parts: [{ type: 'tool_call', id: 'c1', name: 'f', arguments: { a: 1 } }] },
    { role: 'tool', parts: [{ type: 'tool_call_response', id: 'c1', response: 'done' }] },
  ])
  assert.deepEqual(JSON.parse(attributes['gen_ai.output.messages']), [
    { role: 'assistant', parts: [{ type: 'text', content: 'AnSwEr' }], finish_reason: 'stop' },
  ])
})

test('repetitions, waits and failures are events of one span', async (t) => {
  const { upstream, line } = await start(t, { retry: { strategy: 'immediate', maxRetries: 1 } })
  const { spans } = tell(t, line)
  upstream.fault({ kind: 'status', status: 429 }, { times: 2 })
  const error = await rejection(line.chat(REQUEST))
  const [span] = spans()
  const one = ['attempt', 'sent', 'first_byte', 'attempt_end']
  assert.deepEqual(events(span), [...one, ...one])
  assert.deepEqual(span.status, { code: SpanStatusCode.ERROR, message: error.message })
  assert.equal(span.attributes['error.type'], 'ERR_RATE_LIMIT')
  assert.equal(span.attributes['trunkline.attempts'], 2)
  assert.equal(span.attributes['gen_ai.response.model'], undefined)
  const [first, last] = span.events.filter(({ name }) => name === 'trunkline.attempt_end')
  assert.deepEqual(first.attributes, {
    'trunkline.attempt': 1,
    'http.response.status_code': 429,
    'error.type': 'ERR_RATE_LIMIT',
  })
  assert.equal(last.attributes['trunkline.attempt'], 2)
  const aborted = await rejection(line.chat(REQUEST, { signal: AbortSignal.abort() }))
  assert.equal(spans()[1].attributes['error.type'], aborted.name)
  assert.deepEqual(spans()[1].status, { code: SpanStatusCode.ERROR })
})

test('a stream has the time to its first chunk, and ends when it ends', async (t) => {
  const { upstream, line } = await start(t)
  upstream.reply({}, { content: 'one two three' })
  const { spans, points } = tell(t, line)
  const stream = line.stream(REQUEST)
  assert.equal(spans().length, 0)
  const chunks = await collect(stream)
  const [{ attributes, startTime, endTime }] = spans()
  assert.equal(attributes['gen_ai.request.stream'], true)
  assert.equal(attributes['gen_ai.response.id'], chunks[0].id)
  assert.deepEqual(attributes['gen_ai.response.finish_reasons'], ['stop'])
  const first = attributes['gen_ai.response.time_to_first_chunk']
  assert.ok(first > 0 && first <= seconds(endTime) - seconds(startTime))
  const { descriptor, points: found } = await points('gen_ai.client.operation.time_to_first_chunk')
  assert.equal(descriptor.unit, 's')
  assert.deepEqual([found.length, found[0].value.count, found[0].value.sum], [1, 1, first])
})

test('durations and tokens are histograms by the conventions, failed calls too', async (t) => {
  const { upstream, line } = await start(t, { retry: false })
  upstream.reply({}, { content: 'x', usage: { prompt_tokens: 10, completion_tokens: 4, total_tokens: 14 } })
  const { points } = tell(t, line)
  for (let n = 0; n < 3; n++) await line.chat(REQUEST)
  upstream.fault({ kind: 'status', status: 500 }, { times: 1 })
  await rejection(line.chat(REQUEST))
  await line.get('/models').catch(() => {})
  const place = { 'server.address': '127.0.0.1', 'server.port': Number(new URL(upstream.url).port) }
  const common = {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'openai',
    'gen_ai.request.model': 'gpt-test',
    ...place,
  }
  const durations = await points('gen_ai.client.operation.duration')
  assert.equal(durations.descriptor.unit, 's')
  assert.deepEqual(
    durations.points.map(({ attributes, value }) => [attributes, value.count]),
    [
      [{ ...common, 'gen_ai.response.model': 'gpt-test' }, 3],
      [{ ...common, 'error.type': 'ERR_INTERNAL_SERVER' }, 1],
    ],
  )
  assert.equal(durations.points[0].value.buckets.boundaries[0], 0.01)
  const tokens = await points('gen_ai.client.token.usage')
  assert.equal(tokens.descriptor.unit, '{token}')
  assert.deepEqual(
    tokens.points.map(({ attributes, value }) => [attributes['gen_ai.token.type'], value.count, value.sum]),
    [
      ['input', 3, 30],
      ['output', 3, 12],
    ],
  )
  assert.equal(tokens.points[0].value.buckets.boundaries.at(-1), 67_108_864)
})

test('providers have the names that the conventions know them by, or that they are given', async (t) => {
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const at = { baseURL: upstream.url, apiKey: 'k' }
  const line = new Trunkline({
    ...own(),
    providers: {
      a: { ...at, protocol: 'anthropic' },
      g: { ...at, protocol: 'gemini' },
      o: { ...at, baseURL: `${upstream.url}/v1` },
      mine: at,
    },
    retry: false,
  })
  t.after(() => line.close({ drainTimeout: 0 }))
  const { spans } = tell(t, line, { providers: { mine: 'my.gateway' } })
  for (const provider of ['a', 'g', 'o', 'mine']) await line.chat(REQUEST, { provider }).catch(() => {})
  assert.deepEqual(
    spans().map(({ attributes }) => attributes['gen_ai.provider.name']),
    ['anthropic', 'gcp.gemini', 'openai', 'my.gateway'],
  )
})

test('embeddings, other requests and fetches are spans as well', async (t) => {
  const { line } = await start(t)
  const { spans, points } = tell(t, line)
  await line.embed({ model: 'e', input: ['a', 'b'], dimensions: 8, encoding_format: 'float' })
  const server = createServer((request, response) => {
    if (request.url.startsWith('/moved')) response.writeHead(302, { location: '/there' })
    response.end('x')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const url = `http://127.0.0.1:${server.address().port}`
  await line.fetch(`${url}/moved?token=secret`).then((response) => response.text())
  await rejection(line.get('/nowhere?key=k'))
  const [embedded, fetched, got] = spans()
  assert.equal(embedded.name, 'embeddings e')
  assert.equal(embedded.attributes['gen_ai.embeddings.dimension.count'], 8)
  assert.deepEqual(embedded.attributes['gen_ai.request.encoding_formats'], ['float'])
  assert.ok(embedded.attributes['gen_ai.usage.input_tokens'] > 0)
  assert.equal(fetched.name, 'GET')
  assert.deepEqual(fetched.attributes, {
    'http.request.method': 'GET',
    'url.full': `${url}/moved`,
    'http.response.status_code': 200,
    'http.request.resend_count': 1,
    'server.address': '127.0.0.1',
    'server.port': server.address().port,
  })
  assert.equal(got.attributes['trunkline.path'], '/nowhere')
  assert.equal(got.attributes['error.type'], 'ERR_NOT_FOUND')
  const { points: durations } = await points('gen_ai.client.operation.duration')
  assert.deepEqual(
    durations.map(({ attributes }) => attributes['gen_ai.operation.name']),
    ['embeddings'],
  )
})

test('a trace that is not sampled goes on as one, and metrics count it', async (t) => {
  const { upstream, line } = await start(t)
  const { spans, points } = tell(t, line, { tracing: { sampler: new AlwaysOffSampler() } })
  await line.chat(REQUEST)
  assert.equal(spans().length, 0)
  assert.match(upstream.requests[0].headers.traceparent, /-00$/)
  const { points: durations } = await points('gen_ai.client.operation.duration')
  assert.equal(durations[0].value.count, 1)
})

test('the context stays here where that is wanted', async (t) => {
  const { upstream, line } = await start(t)
  const { spans } = tell(t, line, { propagate: false })
  await line.chat(REQUEST)
  assert.equal(spans().length, 1)
  assert.ok(!('traceparent' in upstream.requests[0].headers))
})

test('a client is instrumented once, and no longer than is wanted; others are not', async (t) => {
  const { upstream, line } = await start(t)
  const other = client(t, upstream)
  const { spans, stop } = tell(t, line)
  assert.throws(() => instrument(line), { name: 'ConfigError', message: /is instrumented already/ })
  await other.chat(REQUEST)
  assert.equal(spans().length, 0)
  stop()
  stop()
  await line.chat(REQUEST)
  assert.equal(spans().length, 0)
  const again = tell(t, line)
  await line.chat(REQUEST)
  assert.equal(again.spans().length, 1)
})

test('a client that is instrumented is collected as any other', async (t) => {
  assert.ok(globalThis.gc, 'run with --expose-gc')
  const upstream = await MockUpstream.start()
  t.after(() => upstream.close())
  const kept = await (async () => {
    const line = new Trunkline({ ...own(), baseURL: `${upstream.url}/v1`, apiKey: 'k' })
    instrument(line)
    await line.chat(REQUEST)
    return new WeakRef(line)
  })()
  await collected(kept)
})

test('wrong options are refused by their names', async (t) => {
  const { line } = await start(t)
  for (const [options, message] of [
    [{ tracerProvider: {} }, /^tracerProvider: must have a method getTracer/],
    [{ meterProvider: 1 }, /^meterProvider: must have a method getMeter/],
    [{ captureContent: 'yes' }, /^captureContent: must be a boolean, got a string/],
    [{ propagate: null }, /^propagate: must be a boolean, got null/],
    [{ providers: { a: 1 } }, /^providers.a: must be a string, got a number/],
    [
      { providers: { defualt: 'a' } },
      /^providers\.defualt: is no provider of the client; there are default; did you mean default\?$/,
    ],
    [{ providers: { other: 'a' } }, /^providers\.other: is no provider of the client; there are default$/],
    [{ providers: [] }, /^providers: must be an object, got an array/],
    [{ capture: true }, /^capture: is not an option/],
    [7, /^options: must be an object/],
  ]) {
    assert.throws(
      () => instrument(line, options),
      (error) => {
        assert.ok(error instanceof ConfigError)
        assert.match(error.message, message)
        return true
      },
    )
  }
  assert.throws(() => instrument({}), /^ConfigError: instrument: must be given a Trunkline, got an object/)
  await line.chat(REQUEST)
})

test('without @opentelemetry/api it says what is missing', () => {
  const require = Module.createRequire(import.meta.url)
  const load = Module._load
  Module._load = (name, ...rest) => {
    if (name === '@opentelemetry/api') throw new Error('not found')
    return load(name, ...rest)
  }
  const path = require.resolve('../lib/otel/instrument.js')
  const cached = require.cache[path]
  delete require.cache[path]
  try {
    assert.throws(() => require('../lib/otel/instrument.js'), {
      name: 'ConfigError',
      message: /needs the package '@opentelemetry\/api'/,
    })
  } finally {
    Module._load = load
    require.cache[path] = cached
  }
})

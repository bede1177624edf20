// Uses as documentation shows them, and what they give.

import { channel } from 'node:diagnostics_channel'
import { createServer, type RequestListener } from 'node:http'
import type { Registry } from 'prom-client'
import {
  APIError,
  type Attempt,
  type BatchResult,
  BudgetExceededError,
  type CallMeta,
  type ChatCompletion,
  type ChatCompletionChunk,
  type ChatRequest,
  type ChatRequestFields,
  type CloseReason,
  ConfigError,
  ConnectionError,
  type ConnectionEvent,
  type ConnectionMessage,
  ContextLengthError,
  type EmbeddingRequest,
  type EmbeddingResponse,
  HookError,
  JobError,
  type Metrics,
  presets,
  RateLimitError,
  type RequestMessage,
  recommendPool,
  type ServerSentEvent,
  StreamInterruptedError,
  TimeoutError,
  Trunkline,
  TrunklineError,
  type TrunklineOptions,
} from 'trunkline'
import { instrument } from 'trunkline/otel'
import { MockUpstream, type RecordedRequest } from 'trunkline/testing'

/** Fails unless the value is exactly of this type. */
type Exactly<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never
declare function is<T>(): <V>(value: V, exactly: Exactly<T, V>) => void

declare const key: () => Promise<string>
const messages = [{ role: 'user' as const, content: 'Hello' }]

export async function calls() {
  await using line = new Trunkline({
    baseURL: 'https://api.example.com/v1',
    apiKey: key,
    headers: { 'x-team': 'search' },
    pool: {
      maxConnections: 50,
      maxConnectionsPerOrigin: 20,
      maxIdleConnections: 10,
      idleTimeout: 60_000,
      maxAge: 300_000,
      http2: 'auto',
      maxStreamsPerConnection: 100,
      pingInterval: 30_000,
      pingTimeout: 10_000,
      dnsTtl: 60_000,
      tls: { ca: ['pem'], cert: 'pem', key: 'pem', minVersion: 'TLSv1.3', rejectUnauthorized: true },
      proxy: 'socks5h://user:password@proxy.example',
      noProxy: ['localhost', '10.0.0.0/8'],
    },
    timeouts: { connect: 5_000, queue: 5_000, firstByte: 30_000, idle: 15_000, total: 120_000 },
    retry: {
      maxRetries: 3,
      strategy: 'linear',
      baseDelay: 100,
      maxDelay: 1_000,
      maxRetryAfter: 10_000,
      statuses: [429, 503],
    },
    concurrency: { maxQueue: 100 },
  })
  await line.warmup({ connections: 2, signal: AbortSignal.timeout(1_000) })

  const completion = await line.chat({ model: 'gpt-5', messages, temperature: 0, top_k: 5 })
  is<ChatCompletion>()(completion, true)
  is<string | null>()(completion.choices[0].message.content, true)

  const { data, meta } = await line.chat({ model: 'gpt-5', messages }, { retry: false }).withMeta()
  is<ChatCompletion>()(data, true)
  is<CallMeta>()(meta, true)
  is<Attempt[]>()(meta.attempts, true)
  is<string | null>()(meta.headers.get('x-request-id'), true)
  is<'h1' | 'h2' | undefined>()(meta.connection?.protocol, true)

  const { data: vectors } = await line.embed({ model: 'e', input: ['a', 'b'] })
  is<EmbeddingResponse['data']>()(vectors, true)

  const models = await line.get<{ data: { id: string }[] }>('/models')
  is<string>()(models.data[0].id, true)
  is<unknown>()(
    await line.post('/responses', { model: 'gpt-5' }, { idempotencyKey: 'k', headers: new Headers() }),
    true,
  )
  is<Metrics>()(line.metrics(), true)
  for (const limit of Object.values(line.metrics().limits)) is<number | null>()(limit.requestsRemaining, true)
  for (const circuit of Object.values(line.metrics().circuits)) is<number | null>()(circuit.openedAt, true)
  await line.close({ drainTimeout: 0 })
}

export function watching(logger: import('pino').Logger, other: import('winston').Logger) {
  const line = new Trunkline({
    hooks: {
      async beforeAttempt(attempt) {
        is<number>()(attempt.attempt, true)
        is<string>()(attempt.body, true)
        attempt.headers['x-signature'] = attempt.url
        attempt.headers = { ...attempt.headers, 'x-more': '1' }
      },
      afterCall(meta, error) {
        is<CallMeta>()(meta, true)
        is<unknown>()(error, true)
      },
    },
    logger,
    logLevel: 'debug',
  })
  new Trunkline({ logger: other, hooks: { afterCall: (meta) => meta.usage } })
  new Trunkline({ logger: console })
  line.setLogLevel('off')
  channel('trunkline:request:end').subscribe((message) => {
    const request = message as RequestMessage
    is<CallMeta | null>()(request.meta, true)
    for (const attempt of request.attempts) is<number | undefined>()(attempt.endedAt, true)
  })
  channel('trunkline:connection:opened').subscribe((message) => {
    is<number>()((message as ConnectionMessage).pool, true)
  })
  is<() => void>()(instrument(line, { captureContent: true, providers: { main: 'openai' } }), true)
  return new HookError({} as never) instanceof TrunklineError
}

export async function streams(line: Trunkline, signal: AbortSignal) {
  const stream = line.stream(
    { model: 'gpt-5', messages },
    { signal, flushInterval: 10, recover: 'restart', provider: 'main' },
  )
  let answer = ''
  for await (const chunk of stream) {
    is<ChatCompletionChunk>()(chunk, true)
    if (chunk.trunkline?.restart) answer = ''
    answer += chunk.choices[0]?.delta.content ?? ''
  }
  is<string>()(answer, true)
  for await (const text of line.stream({ model: 'gpt-5', messages }).text()) is<string>()(text, true)
  is<ChatCompletion>()(await stream.final(), true)
  is<string>()(await stream.finalText(), true)
  is<CallMeta>()(await stream.meta, true)
  stream.abort(new Error('enough'))
  new Response(line.stream({ model: 'gpt-5', messages }).toReadableStream())
  await using events = line.events('/messages', { model: 'claude', stream: true })
  for await (const event of events) is<ServerSentEvent>()(event, true)
}

export function ways() {
  return [{ socketPath: '/run/upstream.sock' }, { proxy: false as const }].map((pool) => new Trunkline({ pool }))
}

export async function batches(line: Trunkline) {
  const requests = messages.map((message, n) => ({ model: 'gpt-5', messages: [message], customId: `c${n}` }))
  const batch = line.batch(requests, { concurrency: 8, failFast: true, onProgress: ({ succeeded }) => succeeded + 1 })
  is<BatchResult<ChatCompletion>[]>()(await batch, true)
  for await (const result of line.batch<number>([{ path: '/x', body: {} }])) {
    if (result.status === 'fulfilled') is<number>()(result.value, true)
    else is<unknown>()(result.reason, true)
  }
  async function* source() {
    yield { model: 'gpt-5', messages }
  }
  line.batch(source()).abort()
  const job = line.batchFile(new URL('file:///in.jsonl'), 'out.jsonl', { tries: 2, tenant: 'acme', onBudget: 'wait' })
  is<number>()(job.progress.repeated, true)
  const { status, resumesAt } = await job.stop({ now: true })
  line.batchFile('in.jsonl', 'out.jsonl', { queue: { redis: 'redis://h', job: 'nightly', work: false, claim: 60_000 } })
  const worked = await line.batchWork({ queue: { job: 'nightly' }, concurrency: 8 })
  is<number>()(worked.progress.twice, true)
  // @ts-expect-error a worker has no files
  worked.output
  // @ts-expect-error nor has it whose job it is, without a name
  line.batchWork({ queue: { redis: 'redis://h' } })
  is<'done' | 'stopped' | 'paused' | 'ended'>()(status, true)
  return resumesAt
}

export function errors(error: unknown) {
  if (error instanceof RateLimitError) is<number | null>()(error.retryAfter, true)
  if (error instanceof ContextLengthError) is<number>()(error.status, true)
  if (error instanceof APIError) is<Headers>()(error.headers, true)
  if (error instanceof ConnectionError) is<'dns' | 'connect' | 'tls' | 'proxy' | 'receive'>()(error.phase, true)
  if (error instanceof TimeoutError) is<number>()(error.limit, true)
  if (error instanceof StreamInterruptedError) is<ChatCompletion>()(error.partial, true)
  if (error instanceof JobError) is<boolean>()(error.reason === 'full', true)
  if (error instanceof TrunklineError) is<string>()(error.code, true)
  return error instanceof ConfigError
}

export async function events(line: Trunkline) {
  const each = ({ id, origin, event, protocol, reason, handshake }: ConnectionEvent) => {
    is<number>()(id, true)
    is<string>()(origin, true)
    is<'opened' | 'closed'>()(event, true)
    is<'h1' | 'h2'>()(protocol, true)
    is<CloseReason | undefined>()(reason, true)
    is<number | undefined>()(handshake, true)
  }
  line.on('connection', each).once('connection', each).prependListener('connection', each).off('connection', each)
  line.on('connection', (event) => {
    is<ConnectionEvent>()(event, true)
    if (event.event === 'opened') is<number>()(event.handshake, true)
    else is<CloseReason>()(event.reason, true)
  })
  is<number>()(line.listenerCount('connection'), true)
  // The shape that users were promised.
  const promised: (event: {
    id: number
    origin: string
    event: 'opened' | 'closed'
    reason?: string
    protocol?: 'h1' | 'h2'
    handshake?: number
  }) => void = () => {}
  line.on('connection', promised)
}

export function sizes() {
  const pool = recommendPool({ peakConcurrent: 50, responseTime: 2_000, requestInterval: 1_000 })
  is<number>()(pool.maxConnections, true)
  is<number>()(pool.maxIdleConnections, true)
  is<TrunklineOptions>()(presets.multiTenant, true)
  return [
    new Trunkline({ pool }),
    new Trunkline({ ...presets.enterprise, apiKey: key, pool: { ...presets.enterprise.pool, idleTimeout: 5_000 } }),
  ]
}

export async function upstreams() {
  await using upstream = await MockUpstream.start({
    tls: true,
    rateLimit: { requestsPerSecond: 5 },
    record: true,
    keys: { k: { rateLimit: { burst: 1 } }, old: { revoked: true } },
    prefill: false,
    models: { m: { maxInputTokens: 100, prefill: true } },
  })
  upstream
    .reply({ model: 'm' }, 'Hello')
    .reply({ path: '/x' }, { json: { a: 1 }, status: 201 })
    .reply((request) => request.headers.x === '1', { raw: { body: 'x', contentType: 'text/html' } })
    .reply({}, { toolCalls: [{ function: { name: 'f', arguments: '{}' } }], finishReason: 'tool_calls', chunks: 2 })
    .fault({ kind: 'cut', afterTokens: 3, clean: true }, { times: 2 })
    .fault({ kind: 'reset', after: 3 }, { for: 100, model: 'm', key: 'k' })
    .fault({ kind: 'error-in-stream', afterTokens: 1 })
  is<RecordedRequest[]>()(upstream.requests, true)
  is<number>()(upstream.connections.handshakesResumed, true)
  return new Trunkline({ baseURL: upstream.url, pool: { tls: { ca: upstream.ca } } })
}

export function providers() {
  return new Trunkline({
    providers: {
      main: { baseURL: 'https://api.example.com/v1', apiKey: ['sk-1', key], pool: { http2: 'never' } },
      azure: {
        baseURL: 'https://x.example/openai',
        headers: { 'api-key': 'k' },
        query: { 'api-version': '2024-10-21' },
      },
      claude: { baseURL: 'https://api.anthropic.com', protocol: 'anthropic', rateLimit: { requestsPerMinute: 50 } },
    },
    pricing: {
      small: { input: 0.1, output: 0.4, above: { tokens: 100_000, input: 0.5, output: 2.5 } },
      'main/large': { input: 3, output: 15, cachedInput: 0.3 },
      deployment: 'gpt-4o',
    },
    budget: { limit: 50, window: 'day', perModel: { 'main/large': 20, small: { tokens: 1e6 } }, perTenant: 5 },
    routes: {
      fast: { provider: 'main', model: 'small' },
      good: [
        { provider: 'main' },
        { provider: 'claude', model: 'large', maxInputTokens: 200_000, supportsPrefill: true },
      ],
      shared: { targets: [{ provider: 'main', weight: 3 }, { provider: 'azure' }], strategy: 'weighted' },
      strict: { targets: [{ provider: 'main' }], onContentFilter: 'next', strategy: 'lowest-cost' },
      auto: { select: ({ messages }) => (messages.length > 5 ? 'good' : 'fast') },
    },
  })
}

export async function several(line: Trunkline) {
  line.rotateKey('main', 'sk-2')
  line.rotateKey('main', ['sk-2', key])
  await line.warmup({ provider: 'claude' })
  line.on('failover', ({ from, to, reason }) => {
    is<string>()(from, true)
    is<string>()(to, true)
    is<string>()(reason, true)
  })
  is<number>()(line.metrics().requests.failedOver, true)
  const { data, meta } = await line.chat({ model: 'good', messages }, { provider: 'claude', wire: 'stream' }).withMeta()
  is<string[]>()(meta.dropped, true)
  const [{ message }] = data.choices
  is<string | null | undefined>()(message.reasoning_content, true)
  is<string | undefined>()(message.thinking_blocks?.[0].signature, true)
  is<string | undefined>()(message.extra_content?.google?.thought_signature, true)
  is<string | undefined>()(message.images?.[0].image_url.url, true)
  // It goes back as it came.
  const next: ChatRequest = {
    model: 'good',
    messages: [...messages, message, { role: 'tool', tool_call_id: 'c', content: '7' }],
  }
  await line.batch([next], { provider: 'claude', wire: 'stream' })
}

export function further() {
  // A provider's own fields, wherever a request may have some.
  const request: ChatRequest = {
    model: 'gpt-5',
    messages: [
      { role: 'system', content: [{ type: 'text', text: 'Hello', cache_control: { type: 'ephemeral' } }] },
      { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:' }, min_pixels: 5 }], weight: 1 },
    ],
    tools: [{ type: 'function', function: { name: 'f' }, cache_control: { type: 'ephemeral' } }],
    top_k: 5,
  }
  if ('top_k' in request) is<unknown>()(request.top_k, true)
  const vectors: EmbeddingRequest = { model: 'e', input: 'a', input_type: 'query' }
  return [request, vectors]
}

/** One that somebody has given a name. */
interface Qwen extends ChatRequestFields {
  top_k: number
}

export const named = (line: Trunkline, request: Qwen) => line.chat(request)
export async function fromMemory() {
  const line = new Trunkline({ cache: { maxBytes: 1e6, ttl: 60_000, when: 'all', coalesce: false, control: true } })
  new Trunkline({ cache: {} })
  new Trunkline({ cache: false })
  const cache = { ttl: 5, when: 'deterministic', coalesce: true, control: 'no-cache, max-age=5' } as const
  const { meta } = await line.chat({ model: 'm', messages }, { cache }).withMeta()
  is<boolean>()(meta.cached && meta.coalesced, true)
  line.stream({ model: 'm', messages }, { cache: false })
  is<number | undefined>()(line.metrics().cache?.evicted, true)
  is<number>()(line.metrics().requests.coalesced, true)
}

export async function dashboard(line: Trunkline) {
  const { url, port, close } = await line.dashboard({ port: 4400, host: '::1', hosts: ['ops.example.com'], ref: true })
  is<string>()(url, true)
  is<number>()(port, true)
  is<Promise<void>>()(close(), true)
  const handler: RequestListener = line.dashboardHandler({ path: '/trunkline' })
  createServer(handler)
  line.dashboardHandler().close()
}

export async function money(line: Trunkline) {
  const { meta } = await line.chat({ model: 'm', messages }).withMeta()
  is<number | null>()(meta.cost, true)
  is<boolean>()(meta.usageEstimated, true)
  const { total, byModel, unpriced, budget } = line.costs({ window: 'day', before: true })
  is<number>()(total + byModel.m.cost, true)
  is<string[]>()(unpriced, true)
  is<number | null | undefined>()(budget?.limit, true)
  is<number | undefined>()(line.savings({ hourlyCost: 3 }).perMonth?.timeValue, true)
  is<number>()(line.metrics().cost + line.metrics().tokens.perSecond, true)
  line.on('budget', ({ share, limit, spent, name }) => {
    is<number>()(share * limit - spent, true)
    is<string | null>()(name, true)
  })
  const error: unknown = null
  if (error instanceof BudgetExceededError) is<number>()(error.resetsAt + error.asked, true)
}

export function scraped(line: Trunkline, register: Registry, open: Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>) {
  is<string>()(line.prometheus() + line.prometheus({ format: 'openmetrics', labels: { client: 'a' } }), true)
  const remove = line.registerMetrics(register, { labels: { client: 'a' } })
  remove()
  line.registerMetrics(open)
}

/**
 * One warm, bounded, multiplexed connection pool to AI providers for a whole Node.js process.
 *
 * All durations are milliseconds, above 0 and at most 2³¹−1; all sizes are bytes. What is declared here is what there is.
 *
 * @module trunkline
 */

import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Cassette } from './testing.js'

// ───────────────────────────── the client ─────────────────────────────

/**
 * One long-lived client per process. Clients with equal `pool` and `tenants` settings in one process, whatever their thread,
 * share one pool of sockets. Limits, budgets, cache and circuits belong to a client; clients of the same `name` in one process share them.
 *
 * An idle client does not keep the process alive; a running call does. A client that nobody holds any more closes its idle
 * sockets once it is collected.
 *
 * It emits {@link TrunklineEvents}, and never `error`. Listeners keep neither the process alive nor a client that nobody holds.
 */
export declare class Trunkline extends EventEmitter<TrunklineEvents> implements AsyncDisposable {
  /**
   * @throws {ConfigError} for an option that is wrong or unknown, by its path: `pool.maxConnections: must be a positive
   * integer, got -1`.
   */
  constructor(options?: TrunklineOptions)

  /**
   * One chat completion, and the answer as a whole, in OpenAI's shape whichever provider answers. What a provider has no words for is told in
   * {@link CallMeta.dropped}, or refused by its place.
   *
   * Never throws; it rejects with a {@link TrunklineError} of the class that fits, or with the signal's reason.
   * {@link ConfigError}: a request that is no object, has no model, cannot be written as JSON, or cannot be said in the protocol of any target; nothing
   * is sent then.
   */
  chat(request: ChatRequest, options?: CallOptions): Call<ChatCompletion>

  /**
   * The same, streamed. It starts at once; an error, a wrong option too, waits for whoever consumes it; a stream that nobody
   * holds any more is cancelled once it is collected.
   */
  stream(request: ChatRequest, options?: StreamOptions): ChatStream

  /**
   * Embeddings. More inputs than the provider takes at once (2,048; Gemini 100) are sent in several requests, and the vectors joined in the order
   * of the inputs, usage added up. Anthropic has none. Rejects as {@link chat} does.
   */
  embed(request: EmbeddingRequest, options?: CallOptions): Call<EmbeddingResponse>

  /**
   * Many calls, at most `concurrency` at once, results in order, one failure never losing another's result. The source may be
   * endless: an item is taken when there is room for it.
   * @throws {ConfigError} for wrong options, or a source that is not iterable, before an item is taken.
   */
  batch<T = ChatCompletion>(requests: Iterable<BatchItem> | AsyncIterable<BatchItem>, options?: BatchOptions): Batch<T>

  /**
   * A job of many calls, from a file to a file, in OpenAI's batch format: each line of `input` is a request (`custom_id`, `method`, `url`, `body`), each line of `output`
   * an answer, in the order in which they come. Failures go to a file of their own. Whatever provider answers, by routes. All of it runs beside JavaScript, in memory
   * that does not grow with the file. `docs/batch-files.md` tells all of it.
   *
   * Nothing is lost and nothing is answered twice: the same call goes on where an earlier one was, whatever ended that (a crash, a full disk, a power cut).
   * Rejects with a {@link JobError} for files that cannot be read or written, or are of another job; what was settled is in the files, in whole lines.
   * @throws {ConfigError} for wrong options, {@link ClosedError} once the client is closed.
   */
  batchFile(input: string | URL, output: string | URL, options?: BatchFileOptions): BatchFile

  /**
   * Works on a job that another process feeds by {@link Trunkline.batchFile} with `queue`, here or on any other machine, until the job is done. Where there is no such job yet, it
   * is waited for. The lines that this process has not answered when it ends, or is not heard of, go to others.
   *
   * Rejects with a {@link JobError} for a Redis that cannot be used.
   * @throws {ConfigError} for wrong options.
   */
  batchWork(options: BatchWorkOptions): BatchFile<BatchWorkResult>

  /**
   * Any other JSON endpoint below `baseURL`, that of the first provider unless `provider` names another; routes are of models, and are not asked. The body is
   * sent as it is, in whatever shape that provider has. `path` begins with a slash; a full URL is refused, since credentials stay with
   * their provider, and so are the segments `.` and `..`. Repeated after a failure only where it certainly was not processed, or with an `idempotencyKey`.
   * Rejects as {@link chat} does, and with a {@link ConfigError} for a body that JSON would lose (a form, bytes, a `Map`, a promise), which `fetch` can send;
   * an empty answer of status 204 or 205 is `null`.
   */
  post<T = unknown>(path: string, body: unknown, options?: CallOptions): Call<T>

  /** As {@link post}, without a body. Safe to repeat, and repeated. */
  get<T = unknown>(path: string, options?: CallOptions): Call<T>

  /** Any other endpoint that answers a POST with server-sent events. As {@link stream} and {@link post}. */
  events(path: string, body: unknown, options?: StreamOptions): EventStream

  /**
   * WHATWG's fetch over this client's pool, for whatever takes one: `new OpenAI({ fetch: line.fetch })`. Bound; may be passed on its own,
   * or put in the place of the global one.
   *
   * Any origin: nothing of this client's keys, headers or `baseURL` goes along. Priorities, tenants, limits of the pool and its queue and the
   * timeouts `connect` and `queue` hold, and the figures count it; retries, fail-over, circuits, limits of rate and the other timeouts do
   * not, since whoever calls fetch has its own. An answer has 300 s for its head and for each further piece of its body. The headers
   * `trunkline-priority` and `trunkline-tenant` say how one request waits, and are not sent on. Other schemes than `http` and `https` are
   * handed to Node's own fetch. docs/fetch.md tells what is by the book, what is not, and its bounds.
   *
   * Rejects as fetch does: with the signal's reason, or with a TypeError, whose `cause` is a {@link TrunklineError} where the network failed,
   * its `code` that of Node's own fetch (`ECONNREFUSED`, `UND_ERR_CONNECT_TIMEOUT`).
   */
  readonly fetch: typeof globalThis.fetch

  /** A plain snapshot, cheap enough to call every second. Usable after {@link close}. */
  metrics(): Metrics

  /**
   * The figures as a text that Prometheus reads: what {@link metrics} has, by provider and model, with histograms. docs/metrics.md tells what each is. Serve
   * it as `text/plain; version=0.0.4; charset=utf-8` or, with `format: 'openmetrics'`, as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
   * The first 100 models have figures of their own, further ones share `(others)`. Usable after {@link close}.
   * @throws {ConfigError} for bad options.
   */
  prometheus(options?: PrometheusOptions): string

  /**
   * Puts the same figures into a registry of `prom-client`, for programs that have one: `line.registerMetrics(register)`. Several clients in one registry each need
   * `labels` of their own. The function that is returned takes them out again; until then the registry keeps the client.
   * @throws {ConfigError} for what is no registry, bad labels, and labels that another client has there. What the registry itself throws is passed on.
   */
  registerMetrics(register: MetricsRegister, options?: { labels?: Record<string, string> }): () => void

  /**
   * How much is logged from now on.
   * @throws {ConfigError} for what is no level.
   */
  setLogLevel(level: LogLevel): void

  /**
   * What was spent, by model, provider and tenant: since the client was made, or the first that is still there of its `name` (`all`, the default), or in the hour, day or month of now, in UTC by the
   * calendar; with `before`, in the one before it. `String()` of it is a text for people. Usable after {@link close}.
   * @throws {ConfigError} for a window that is none.
   */
  costs(options?: CostOptions): CostReport

  /**
   * What pooling, cache and single flight have saved, by what this client and its pool have measured, and what that is in thirty days at this rate.
   * `String()` of it is a text for people. Usable after {@link close}.
   */
  savings(options?: SavingsOptions): SavingsReport

  /**
   * A page with the figures of this client, live, on a server of its own: for whoever runs the program, so on loopback, any free port and without a password unless it is
   * told otherwise. `/metrics` beside it has what `prometheus()` has, `/snapshot` what the page shows as JSON. It ends with {@link close}. While it is there calls are watched,
   * which costs some microseconds each; docs/dashboard.md has all of it.
   * @throws {ConfigError} for bad options, and for a port or host that cannot be listened on (`dashboard.port: 4400 is in use on 127.0.0.1`); {@link ClosedError}.
   */
  dashboard(options?: DashboardOptions): Promise<Dashboard>

  /**
   * The same page for a server of your own: `app.use('/trunkline', line.dashboardHandler())` in Express, or by its `path` in any other.
   * Who may look is that server's to decide.
   * @throws {ConfigError} for bad options; {@link ClosedError}.
   */
  dashboardHandler(options?: DashboardHandlerOptions): DashboardHandler

  /**
   * Opens connections ahead of the first request: as many as there are not yet; the first alone, the others side by side.
   * Over HTTP/2, as many as that number of calls at once needs by `maxStreamsPerConnection`: mostly one. Never more than may rest
   * (`pool.maxIdleConnections`; none where that is 0) and the limits allow; it resolves all the same.
   *
   * Rejects with {@link ConnectionError}, {@link TimeoutError} of phase `connect`, {@link ConfigError}, {@link ClosedError}
   * or the signal's reason.
   */
  warmup(options?: WarmupOptions): Promise<void>

  /**
   * Other keys for a provider (`default` without `providers`), in the place of all that it has: for the calls that begin from now on. Those that run,
   * with their retries, go on with the old ones; connections stay.
   * @throws {ConfigError} for what is no key, by its place (`key[1]: must not be empty`), or for an unknown provider; the old keys stay then.
   */
  rotateKey(provider: string, key: ApiKey | ApiKey[]): void

  /**
   * No new calls: they reject with {@link ClosedError}. Unless another client shares the pool, the sockets that rest close.
   * Running calls get `drainTimeout` to finish; the rest then reject with {@link ClosedError} as well. Resolves when they have
   * ended and every socket that no other client shares is closed, with its reason counted and its event emitted.
   * A second call waits for the same end, its options are not looked at. With a cassette, what was recorded is in its file then; if it cannot be written, this
   * rejects with {@link ConfigError} once all is closed.
   */
  close(options?: CloseOptions): Promise<void>

  /** As {@link close} without options, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

// ───────────────────────────── events ─────────────────────────────

export interface TrunklineEvents {
  /**
   * A connection of the pool has opened or closed, whichever client of the pool it was made for. Rust tells of them only while
   * somebody listens, until {@link Trunkline.close} resolves. At most 1,024 wait for JavaScript that is busy; what comes beyond
   * is dropped, and a process warning of code `TRUNKLINE_EVENTS_LOST` says how many. The metrics count all.
   */
  connection: [ConnectionEvent]
  /** An attempt has failed, and the same target is asked again after `delay` milliseconds, at once with another key or where nothing was processed. */
  retry: [{ attempt: Attempt; delay: number }]
  /**
   * A call goes from one target of its route to the next. Both as `provider/model`; `reason` is the `code` of the error that the first one ended with
   * (`ERR_CONFIG`: the request cannot be said in its protocol).
   */
  failover: [{ from: string; to: string; reason: string }]
  /**
   * A circuit has opened, lets a probe through, or has closed. `model`: null for that of the provider as a whole, which opens when all
   * models that are in use fail, and these are two or more: a client of one model is told of one circuit. `'(none)'` for the calls that
   * name no model (`get`, most of `post`), which share a circuit. Told to all clients of one `name`, whoever's call it was.
   */
  circuit: [{ provider: string; model: string | null; state: CircuitState }]
  /** A figure of the last window has passed its threshold (`alerts`), or is back below it. `p99` in milliseconds, rates as shares. */
  alert: [{ name: 'errorRate' | 'retryRate' | 'p99'; state: 'raised' | 'cleared'; value: number; threshold: number }]
  /**
   * A share of a budget (`alertAt`) was reached: once in each of its windows. That of 1 also comes when the first call is refused, for which what is left
   * does not suffice. `name`: of the model or the tenant. Told to all clients of one `name` that are there.
   */
  budget: [{ scope: 'all' | 'model' | 'tenant'; name: string | null; share: number } & BudgetStanding]
}

export type CircuitState = 'closed' | 'open' | 'half-open'

/**
 * What subscribers of the channels `trunkline:request:start`, `:end` and `:error` of `node:diagnostics_channel` get, and {@link AttemptEventMessage} has: one object
 * for each call, from its start to its end.
 */
export interface RequestMessage {
  /** As in {@link CallMeta.id}. */
  readonly id: string
  readonly client: Trunkline
  readonly operation: 'chat' | 'embed' | 'post' | 'get' | 'fetch'
  /** Whether its answer comes in pieces: `stream` and `events`. */
  readonly stream: boolean
  /** That the request names, if it does. */
  readonly model: string | null
  readonly method: string
  /** The path of a `post`, `get` or `events`, the URL of a `fetch`; else null. */
  readonly url: string | null
  /** What the caller passed, to be looked at and not to be changed; undefined of a `get` or `fetch`. It holds what people say to a model. */
  readonly request: unknown
  /** Milliseconds since 1970, with fractions. */
  readonly startTime: number
  /** Those that are told of, in the order in which they began; all times in milliseconds since `startTime`. */
  readonly attempts: AttemptMessage[]
  /** Sends a header with each attempt, in the place of one of that name. Only at `trunkline:request:start`; throws a {@link ConfigError} later. */
  addHeader(name: string, value: string): void
  /** At its end: what it came to, of a stream the whole completion. Undefined where it failed, of `events` and of `fetch`. */
  readonly result: unknown
  /** At its end, and made when it is looked at: as {@link Hooks.afterCall} gets it. Null before, and of a `fetch`. */
  readonly meta: CallMeta | null
  /** At its end: what it rejects with. Undefined where it went well. */
  readonly error: unknown
}

/** What is known of an attempt. A field is there once it is known. */
export interface AttemptMessage {
  readonly number: number
  /** Null of a `fetch`. */
  readonly provider: string | null
  readonly model: string | null
  readonly protocol: Protocol | null
  /** `https://api.example.com` */
  readonly origin: string
  readonly startedAt: number
  /** When its request went out, how long it waited, and on which connection; times of making one are 0 where it was there. */
  readonly sentAt?: number
  readonly queued?: number
  readonly dns?: number
  readonly connect?: number
  readonly tls?: number
  readonly connection: { id: number; protocol: 'h1' | 'h2'; reused: boolean } | null
  /** When the head of its answer came; of a stream, the first piece that says something. */
  readonly firstByteAt?: number
  readonly status: number | null
  readonly endedAt?: number
  /** As in {@link Attempt}. */
  readonly error: string | null
  readonly billed: 'yes' | 'no' | 'maybe' | null
}

/** What subscribers of `trunkline:request:attempt`, `:sent`, `:firstByte` and `:attemptEnd` get. */
export interface AttemptEventMessage {
  readonly request: RequestMessage
  /** One object for each attempt. */
  readonly attempt: AttemptMessage
}

/** What subscribers of `trunkline:connection:opened` and `:closed` get. `pool`: its number in the process; a connection is named by both. */
export type ConnectionMessage =
  | { id: number; pool: number; origin: string; protocol: 'h1' | 'h2'; handshake: number }
  | { id: number; pool: number; origin: string; protocol: 'h1' | 'h2'; reason: CloseReason }

/** Each connection that opened closes once, after that. */
export type ConnectionEvent = {
  /** As in {@link CallMeta.connection}: counted from 1 in each pool. */
  id: number
  /** `https://api.example.com` */
  origin: string
  protocol: 'h1' | 'h2'
} & (
  | {
      event: 'opened'
      /** DNS, TCP and TLS together, in milliseconds. */
      handshake: number
      reason?: undefined
    }
  | { event: 'closed'; reason: CloseReason; handshake?: undefined }
)

/**
 * `idle`, `age`: rested or lived too long. `server`: the server closed or reset it while it rested, or after a whole answer. `goaway`: it
 * said so by GOAWAY. `error`: it broke in the middle of something (a call, an unanswered PING), or the server spoke no HTTP. The same over
 * HTTP/1.1 and HTTP/2, with and without TLS; a single HTTP/2 stream that is reset closes no connection.
 * `cancelled`: its caller left in the middle of an answer. `evicted`: given up for another, or one idle socket too many.
 * `clockJump`: the machine had slept while it rested. `shutdown`: the pool closed.
 */
export type CloseReason =
  | 'idle'
  | 'age'
  | 'server'
  | 'goaway'
  | 'error'
  | 'cancelled'
  | 'evicted'
  | 'clockJump'
  | 'shutdown'

// ───────────────────────────── sizes ─────────────────────────────

/**
 * How large a pool should be. By Little's law, L = λW (J. D. C. Little, Operations Research 9, 1961): calls come at a rate of
 * `peakConcurrent ÷ requestInterval`, each is there for `responseTime`, and the product is how many are there at once. A tenth
 * is added for bursts, and the sum rounded up; half of it, rounded up, is kept warm. `{ peakConcurrent: 50, responseTime: 2_000,
 * requestInterval: 1_000 }` gives 110 and 55.
 *
 * That is one connection for each call, as HTTP/1.1 has it. Over HTTP/2 so many calls share fewer connections, and the
 * figures are only limits. Where `maxConnections` is above 100, set `maxConnectionsPerOrigin` too.
 * @throws {ConfigError} for what is missing or no such number, and for loads that would need more than 65,535 connections.
 */
export declare function recommendPool(
  load: PoolLoad,
): Required<Pick<PoolOptions, 'maxConnections' | 'maxIdleConnections'>>

export interface PoolLoad {
  /** Users, workers or jobs that call at the same time at the peak. A positive integer. */
  peakConcurrent: number
  /** How long one call takes, in milliseconds, 1 or more. */
  responseTime: number
  /** From one call of each of them to its next, in milliseconds. */
  requestInterval: number
}

/**
 * Ready-made options, deeply frozen. Spread and override: `{ ...presets.backend, apiKey }`. What is overridden in a section
 * is overridden there, or the rest of the section is lost: `{ ...presets.cli, pool: { ...presets.cli.pool, proxy: false } }`.
 *
 * | by workload | connections | idle kept |
 * |---|---|---|
 * | `cli` | 5 | 30 s |
 * | `backend`, 10 to 50 calls a second | 30 | 120 s |
 * | `batch`, above 100 calls a second | 80, of which streams take up to 20 | 60 s |
 * | `multiTenant` | 200, 10 for each tenant | default |
 *
 * | by scale | connections | idle kept | timeout of an attempt | retries |
 * |---|---|---|---|---|
 * | `development` | 10 | 60 s | 30 s | 2 |
 * | `startup`, 1,000 calls a day | 25 | 45 s | 45 s | 3 |
 * | `growth`, 10,000 | 50 | 30 s | 60 s | 3 |
 * | `enterprise`, above 100,000 | 200 | 20 s | 90 s | 4 |
 *
 * There is no limit of an attempt as such. Its timeout is `timeouts.firstByte` and `timeouts.idle`: no attempt is silent for
 * longer; and `timeouts.total` is so much for each attempt that the retries allow, which is what bounds an answer that comes
 * whole. All connections may go to one origin.
 */
export declare const presets: Readonly<
  Record<
    'cli' | 'backend' | 'batch' | 'multiTenant' | 'development' | 'startup' | 'growth' | 'enterprise',
    TrunklineOptions
  >
>

// ───────────────────────────── options ─────────────────────────────

/**
 * A key, or a function that gives it: asked when the first call needs it, however many wait, and again when a key is refused
 * with 401 or the function failed before.
 */
export type ApiKey = string | (() => string | Promise<string>)

/** Header fields. Those that belong to the connection (Host, Content-Length, …) are refused. Values are Latin-1, as `Headers` has them. */
export type HeaderFields = Record<string, string> | Headers

export interface TrunklineOptions {
  /**
   * Clients of one name in one process, in worker threads as well, share their limits and who waits for them (`rateLimit`, `concurrency`, `tenants.maxConcurrent`, what was learned of
   * limits), circuits, `retry.budget`, kept answers and exchanges under way (`cache`), `budget` and what was spent. So these and `pricing`, `shared` and the `baseURL` and `protocol` of
   * providers that both have must be set alike: else the later client is refused with a {@link ConfigError}. Each has keys, headers, hooks, a logger, alerts, times, routes and counts of its own calls for itself; what one's key was
   * answered with may serve another. When all have been closed, or collected, what they shared ends. 1 to 128 characters. Default: nothing is shared but sockets.
   */
  name?: string
  /**
   * The URL that paths are appended to, `/v1` included where the protocol is `openai` and there is one. Without a query, fragment, user
   * or password. Default: TRUNKLINE_BASE_URL; then, by protocol, OPENAI_BASE_URL, ANTHROPIC_BASE_URL or GOOGLE_GEMINI_BASE_URL; then
   * `https://api.openai.com/v1`, `https://api.anthropic.com` or `https://generativelanguage.googleapis.com`.
   */
  baseURL?: string
  /**
   * Visible ASCII, without the `Bearer ` that is sent before it. Sent as `Authorization: Bearer …`, `x-api-key` or `x-goog-api-key`. Default: TRUNKLINE_API_KEY; then, by protocol,
   * OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY; then none.
   */
  apiKey?: ApiKey
  /** What the provider speaks. Default `openai`. */
  protocol?: Protocol
  /** Sent with every request. An `authorization` in here takes the place of the key. Default: none. */
  headers?: HeaderFields
  /**
   * Several providers by name (1 to 64 bytes), in the place of `baseURL`, `apiKey`, `protocol` and `headers`. The first one is asked for models that have
   * no route. `timeouts`, `concurrency` and `rateLimit` here are for each of them, where its own do not say otherwise.
   */
  providers?: Record<string, ProviderOptions>
  /**
   * What a model's name in a request means: a target, several of which each is asked when those before it have failed, or a choice. A name that is
   * not here goes to the first provider as it is. Of `chat`, `stream`, `embed` and `batch`, unless the call names a `provider`.
   */
  routes?: Record<string, RouteTarget | RouteTarget[] | RouteOptions>
  /** Limits of time. */
  timeouts?: TimeoutOptions
  /** What is asked again, and when; `false`: only what certainly was not processed is sent again. */
  retry?: RetryOptions | false
  /** How many calls run at once, and who waits. */
  concurrency?: ConcurrencyOptions
  /** How often calls are sent. Default: as often as the provider is known to allow. */
  rateLimit?: RateLimitOptions
  /** When a model or a provider that fails is left alone; `false`: never. */
  circuitBreaker?: CircuitBreakerOptions | false
  /** A second attempt that races one whose answer is late; `false`, the default: never. */
  hedge?: HedgeOptions | false
  /** Answers that are kept and given again, and identical calls in flight that share one exchange; `{}` for the defaults. `false`, the default: neither. */
  cache?: CacheOptions | false
  /** What is told by the `alert` event; `{}` for the defaults. Default: nothing. */
  alerts?: AlertOptions | false
  /**
   * What models cost, by their name or by `provider/model`, which comes first: a price, or the name of a model of the built-in table that costs the
   * same (`{ 'relay/openai/gpt-4o': 'gpt-4o' }`). Default: the built-in table of list prices (docs/costs.md), at the vendors' own addresses alone; what has
   * no price there costs `null`, and is listed by {@link Trunkline.costs}.
   */
  pricing?: Record<string, Price | string>
  /** What may be spent in an hour, a day or a month. Default: no limit. */
  budget?: BudgetOptions
  /** What processes and machines keep together, through Redis. Default: each process has limits of its own. */
  shared?: SharedOptions
  /** Sockets. */
  pool?: PoolOptions
  /** Limits of each tenant, whom calls name by their `tenant`. */
  tenants?: TenantOptions
  /**
   * Answers from a file in place of the network, for tests: what `cassette()` of `trunkline/testing` gives. `hedge` is off beside it; where it is replayed,
   * `rateLimit` too, and no function is asked for a key. Default: none.
   */
  cassette?: Cassette
  /**
   * Where records of what happens inside go: pino, winston, the console, or whatever has these methods. Default: a line on standard error for each.
   * Records hold no key, no header, no prompt, no answer and no query of a URL.
   */
  logger?: Logger
  /**
   * How much is logged; `off` costs nothing. Default: `info` where there is a `logger`, else `off`. The environment variable TRUNKLINE_LOG is taken where this is
   * not given.
   */
  logLevel?: LogLevel
  /** Functions that are called around each attempt and each call. What is absent costs nothing. Default: none. */
  hooks?: Hooks
}

/**
 * `error`: bugs; `warn`: calls that failed, circuits that opened, alerts; `info`: fail-over, circuits that changed, fetches that failed; `debug`: every call,
 * repetition and connection; `trace`: all else.
 */
export type LogLevel = 'off' | 'error' | 'warn' | 'info' | 'debug' | 'trace'

/**
 * As pino has it: fields, then the message. A winston logger and a console are known by what they are, and called as they want it. Without `trace`,
 * `debug` is called. What a method throws is an uncaught exception, and harms no call.
 *
 * Fields: `target` (`call`, `pool`, …), `at` (milliseconds since 1970: records come in batches), and what belongs to the record. What clients
 * share (the pool) is logged by each client of that level, once for each logger.
 */
export interface Logger {
  error(fields: object, message?: string): unknown
  warn(fields: object, message?: string): unknown
  info(fields: object, message?: string): unknown
  debug(fields: object, message?: string): unknown
  trace?(fields: object, message?: string): unknown
}

/** Called in the context (`AsyncLocalStorage`) of the call. Of {@link Trunkline.fetch} none is called. */
export interface Hooks {
  /**
   * Called before each attempt, repetitions, rivals of a race and parts of a long `embed` included: when it has its turn, before it takes a connection. What it
   * makes of `headers` is sent. It counts against `timeouts.total`; a turn (`concurrency`) is held meanwhile.
   *
   * If it throws, or leaves headers that cannot be sent, the call ends with a {@link HookError}; nothing is sent, and nothing tried again.
   */
  beforeAttempt?: (attempt: AttemptRequest) => void | Promise<void>
  /**
   * Called once at the end of each call, just before whoever awaits it goes on. `error`: what the call rejects with; undefined where it went well.
   * Of a call that was aborted, or refused before it began, no more is known than `id`, `model` as it was asked for and `timings.total`; `provider` is empty then.
   * What it throws is an uncaught exception.
   */
  afterCall?: (meta: CallMeta, error?: unknown) => void
}

/** What an attempt is about to send. */
export interface AttemptRequest {
  /** Of the call, from 1 on. */
  readonly attempt: number
  readonly provider: string
  /** As the provider calls it; empty where none is asked. */
  readonly model: string
  readonly method: string
  /** `https://api.openai.com/v1/chat/completions`, with the query. */
  readonly url: string
  /** The same from its path on. */
  readonly path: string
  /**
   * To be changed, added to, or replaced; names in small letters. Without the key, which is added at last, unless its header is set here. Those that belong to
   * the connection (`host`, `content-length`, `transfer-encoding`, `connection`, …) are not here, and refused.
   */
  headers: Record<string, string>
  /** As it is sent, for those who sign it; empty for `get`. It is fetched when it is read, which must be before the hook ends. */
  readonly body: string
}

/**
 * `openai`: Chat Completions, of OpenAI and of all who are compatible (DeepSeek, relays, vLLM, Ollama, Azure); what is asked passes as it is. `anthropic`:
 * Messages. `gemini`: generateContent, of the Gemini API. Bedrock and Vertex AI are not spoken: they want signed requests.
 */
export type Protocol = 'openai' | 'anthropic' | 'gemini'

export interface ProviderOptions {
  /**
   * As at the top, and without a default. A path that does not end in a version (`/v1`, `/v1beta`) gets that of the protocol; `openai` has none, so
   * that it must be in here.
   */
  baseURL: string
  /**
   * Several keys (at most 64) are used in turn. One that is limited rests for as long as it was told (without a word of it 5 s, doubled each time, up
   * to a minute), one that was refused from a minute to an hour, one without credit from 10 minutes to an hour. Another key is tried before any
   * retry, and counts as none. Keys are held in memory that is zeroed when they go; JavaScript's own strings are not. Default: none; those of
   * the environment are not sent.
   */
  apiKey?: ApiKey | ApiKey[]
  /** Default `openai`. */
  protocol?: Protocol
  /** Sent with every request to it. An `authorization` in here takes the place of the key. Default: none. */
  headers?: HeaderFields
  /** Parameters of every request (Azure's `api-version`). Default: none. */
  query?: Record<string, string>
  /** What this provider's origin has differently. The totals are the client's. Providers of one origin have the same. */
  pool?: Omit<PoolOptions, 'maxConnections' | 'maxIdleConnections'>
  /** Of these, what is given takes the place of what stands at the top. A deadline is of a call, wherever it goes, and not of a provider. */
  timeouts?: Omit<TimeoutOptions, 'total'>
  /** How many of its calls run at once. Members that are given take the place of those at the top. */
  concurrency?: ConcurrencyOptions
  /** How often it is called. Members that are given take the place of those at the top. */
  rateLimit?: RateLimitOptions
}

export interface RouteTarget {
  /** A name of `providers`; `default` without them. */
  provider: string
  /** Its name there. Default: that of the request. */
  model?: string
  /** Its share where the strategy is `weighted`; 0 for a fall-back alone. Default 1. */
  weight?: number
  /**
   * How much it reads. A request that was too long for one target goes only to targets that take more: by these numbers, or, where the one that
   * refused it has none, by an estimate of the request. Default: not known.
   */
  maxInputTokens?: number
  /**
   * Whether it goes on with an answer that was begun, where the last message is the assistant's: what `recover: 'continue'` needs. Default: as the providers
   * document it: true with `gemini`, with `anthropic` for models up to Claude 4.5, false with `openai`, whose models begin anew.
   */
  supportsPrefill?: boolean
}

export interface RouteOptions {
  /** In the order in which they are asked. At least one, unless there is `select`. */
  targets?: RouteTarget[]
  /**
   * How the first target is chosen; the others are the fall-backs, in order, and those that are not likely to answer come last. `least-busy`:
   * fewest calls under way. `lowest-latency`: the better of two drawn at random, by what it took of late and by its calls under way.
   * `lowest-cost`: by `pricing`, for this request; what has no price comes after what has one. Default `ordered`, since who lists one provider before
   * another mostly means it.
   */
  strategy?: 'ordered' | 'weighted' | 'least-busy' | 'lowest-latency' | 'lowest-cost'
  /**
   * Whether a request that a target refuses for its content is asked of the next one. Default `fail`: what one provider will not have should not be
   * shopped around unless somebody has decided so.
   */
  onContentFilter?: 'fail' | 'next'
  /**
   * Called first, with the request (of `embed`, with that), and at once: it gives the name of another route, which is taken, or of a model, which goes to the
   * first provider. Its own name means `targets`. A call whose `select` throws, gives no string or goes round is a {@link ConfigError}.
   */
  select?: (request: ChatRequest) => string
}

/** US dollars for a million tokens, 0 or more, to a millionth of a dollar. */
export interface Price extends TokenPrice {
  /** What all tokens of a request cost whose prompt has more than so many. Default: the same. */
  above?: TokenPrice & { tokens: number }
}

export interface TokenPrice {
  input: number
  output: number
  /** Input that the provider had in its cache. Default as `input`. */
  cachedInput?: number
  /** Input that it put there. Default as `input`. */
  cacheWrite?: number
  /** The same, to be kept for an hour. Default as `cacheWrite`. */
  cacheWriteHour?: number
  /** Sound. Default as `input`. */
  audioInput?: number
  /** What of the output was thought. Default as `output`. */
  reasoning?: number
}

/** What several processes keep together, through Redis or Valkey; docs/shared.md. */
export interface SharedOptions {
  /**
   * `redis://host:6379/0`, `rediss://user:password@host:6380`, `unix:///path`: one server, or any node of a cluster. Version 6 or later. The client connects when it
   * is made, and calls that need what is shared wait for that.
   */
  redis: string
  /** The first part of all keys: those who name the same one share. 1 to 200 bytes without braces. Default `trunkline`. */
  namespace?: string
  /**
   * While Redis cannot be asked: `local`, the default: each process goes by its own count of the same limits, so that n processes may make up to n times as many calls.
   * `fail`: calls end with a {@link SharedStateError} before anything is sent.
   */
  onUnavailable?: 'local' | 'fail'
}

/**
 * A call speaks for what it may come to before it is sent (its prompt, and `max_tokens` or about twice what the model's answers have), and is charged with what
 * it came to. At least one of `limit`, `tokens`, `perModel` and `perTenant`. What `fetch` sends is neither known nor held.
 */
export interface BudgetOptions extends BudgetLimit {
  /** In UTC, by the calendar. Default `month`. */
  window?: 'hour' | 'day' | 'month'
  /** By the name of a model, or by `provider/model`: dollars, or both. Where one is used up, the next target of a route is asked. */
  perModel?: Record<string, number | BudgetLimit>
  /** Of each tenant whom calls name. Default: no limit. */
  perTenant?: number | BudgetLimit
  /** Shares of each limit at which there is a `budget` event, above 0 and at most 1. Default `[0.5, 0.8, 1]`. */
  alertAt?: number[]
  /**
   * `block`, the default: a call that would go beyond a limit is a {@link BudgetExceededError}, and nothing is sent. `alert`: it is told of, and goes.
   */
  onExceeded?: 'block' | 'alert'
  /**
   * What becomes of a call to a model without a price, where a limit in dollars holds for it and blocks. `refuse`, the default: a {@link ConfigError}, since
   * nothing would hold it. `allow`: it costs nothing that is known.
   */
  unpriced?: 'refuse' | 'allow'
  /**
   * A file in which what was spent outlives the process, `kill -9` included; its folder must be there. One process at a time: another is refused, while
   * clients of one process share what was spent. A damaged file is set aside under another name, told of by a process warning of code
   * `TRUNKLINE_BUDGET_STATE`, and what can be read of it counts. Default: memory.
   */
  state?: string
}

export interface BudgetLimit {
  /** US dollars, above 0. */
  limit?: number
  /** Tokens, in and out together. */
  tokens?: number
}

export interface PoolOptions {
  /** Sockets to all origins together, those being opened included. Default 200. */
  maxConnections?: number
  /** Sockets to one origin. At most `maxConnections`. Default 100, or `maxConnections` where that is less. */
  maxConnectionsPerOrigin?: number
  /** Idle sockets kept, to all origins together; may be 0. At most `maxConnections`. Default half of it. */
  maxIdleConnections?: number
  /** How long an idle socket is kept. Default 120,000 ms. */
  idleTimeout?: number
  /** A socket older than this takes no new request; each one's own limit lies up to a tenth below. Default 300,000 ms. */
  maxAge?: number
  /** `auto`: ALPN over TLS, HTTP/1.1 in plain text. `prior-knowledge`: HTTP/2 alone, h2c in plain text. Default `auto`. */
  http2?: 'auto' | 'never' | 'prior-knowledge'
  /** Streams on one HTTP/2 connection; the server's own limit wins where it is lower. Default 100. */
  maxStreamsPerConnection?: number
  /** HTTP/2 PING after this long without a frame, on a connection with work. Default 30,000 ms. */
  pingInterval?: number
  /** An unanswered PING ends the connection after this. Default 10,000 ms. */
  pingTimeout?: number
  /**
   * Sockets to one origin set aside for either kind of call, so that streams, which hold one for half a minute, never keep short calls
   * waiting. The two share no connection. A lane that is not given has what the other leaves of `maxConnectionsPerOrigin`; together they
   * must not be above it. Default: all calls share all sockets.
   */
  lanes?: { streaming?: { maxConnections?: number }; unary?: { maxConnections?: number } }
  /**
   * How long the addresses of a host are good: the system's resolver, which is asked, tells no time of its own. For ten times that they are
   * still used while new ones are looked up in the background; addresses of which none can be connected to are forgotten at once.
   * 0: every new connection waits for a lookup. Default 30,000 ms.
   */
  dnsTtl?: number
  /** TLS 1.2 and 1.3, verified against the system's roots and NODE_EXTRA_CA_CERTS. */
  tls?: TlsOptions
  /**
   * URL of a proxy: `http`, `https` (TLS with the proxy itself), `socks5` (names are looked up here) or `socks5h` (by the proxy), with or without
   * `user:password@`, percent-encoded. `false` for none. Default: `https_proxy` or `HTTPS_PROXY` for https origins, `http_proxy` or `HTTP_PROXY` for
   * http origins, `all_proxy` or `ALL_PROXY` for both.
   */
  proxy?: string | false
  /**
   * Hosts that are connected to without the proxy: a domain (with all below it), an IP address, a network such as `10.0.0.0/8`, or `*`, each with or
   * without a port. Default: `no_proxy` or `NO_PROXY`. Loopback goes through the proxy unless it is named.
   */
  noProxy?: string[]
  /** A Unix socket that every origin of this pool is behind. Not with `proxy`, and not on Windows. */
  socketPath?: string
}

export interface TlsOptions {
  /** Certificates in PEM, trusted besides the others. Default: none. */
  ca?: string | string[] | undefined
  /** A client certificate in PEM, followed by those that lead to its root, for origins that ask for one. With `key`. Default: none. */
  cert?: string
  /** The private key of `cert` in PEM, not encrypted. */
  key?: string
  /** Default `TLSv1.2`. */
  minVersion?: 'TLSv1.2' | 'TLSv1.3'
  /** `false`: any certificate is taken. For development only; each such client emits a process warning. Default true. */
  rejectUnauthorized?: boolean
}

export interface TimeoutOptions {
  /** DNS, TCP and TLS together, those of a proxy included, for each connection. Default 10,000 ms. */
  connect?: number
  /** Waiting for a turn (`concurrency`, `rateLimit`) and a socket or an HTTP/2 stream. Default 30,000 ms. */
  queue?: number
  /**
   * From the request to the first event of a stream that says something (reasoning counts; comments, pings and empty deltas do
   * not). An answer that comes whole may think as long as `total`. Default 60,000 ms.
   */
  firstByte?: number
  /** Between two pieces of a body, pings included; paused while the caller is not reading. Default 30,000 ms. */
  idle?: number
  /** The whole call, every attempt and wait included. Default 600,000 ms. */
  total?: number
}

export interface RetryOptions {
  /** Attempts after the first, at each target. Default 2. */
  maxRetries?: number
  /** How the delay grows: `baseDelay` × 2ⁿ, `baseDelay` × (n + 1), or none. Default `exponential`. */
  strategy?: 'exponential' | 'linear' | 'immediate'
  /** The bound of the first delay; the delay itself is drawn from 0 up to its bound. At most `maxDelay`. Default 500 ms. */
  baseDelay?: number
  /** The bound of any delay. Default 8,000 ms. */
  maxDelay?: number
  /** A server that asks for a longer wait than this is not waited for: the call goes to the next target, or fails at once. Default 60,000 ms. */
  maxRetryAfter?: number
  /** Statuses, 400 to 599, that are asked again. Default 408, 409, 429, 500, 502, 503, 504, 520 to 526, 529. */
  statuses?: number[]
  /**
   * Retries as a share of the calls of the last 10 s, and so many a second besides, so that an outage is not multiplied. Of each provider:
   * a call cannot have its own. Default `{ ratio: 0.2, minPerSecond: 10 }`.
   */
  budget?: { ratio?: number; minPerSecond?: number }
}

/** A target that fails is left alone for a while: its calls are refused at once with {@link CircuitOpenError}. */
export interface CircuitBreakerOptions {
  /** So many failures in a row open the circuit of a model. Default 5. */
  failureThreshold?: number
  /** So does this share of the calls of the last `window`, above 0 to 1, if they are `minimumCalls`. Default 0.5. */
  failureRatio?: number
  /** Default 20. */
  minimumCalls?: number
  /** Default 10,000 ms. */
  window?: number
  /**
   * How long a circuit stays open; then one call finds out whether to close it, by its end or, of a stream, by its first content.
   * Default 10,000 ms.
   */
  recoveryTimeout?: number
}

/** How often calls are sent. Those that have to wait do so in the order of their priority. */
export interface RateLimitOptions {
  /** Calls a second. Default: no limit. */
  requestsPerSecond?: number
  /** Calls in any minute, whenever it begins. Default: no limit. */
  requestsPerMinute?: number
  /** Of prompt and answer. What a call takes is estimated when it is sent, and put right when its usage is known. Default: no limit. */
  tokensPerMinute?: number
  /** The least between two calls, in milliseconds. Default: none. */
  minInterval?: number
  /**
   * How many may go at once after a pause; no more than `requestsPerMinute`. Default: those of a second; of a limit by the minute, those of a tenth of
   * a second.
   */
  burst?: number
  /** So many calls, given anew at each interval (milliseconds). Default: no such stock. */
  reservoir?: { amount: number; interval: number }
  /**
   * Whether limits are also learned, for each model, from `x-ratelimit-*` and `anthropic-ratelimit-*` of its answers and `Retry-After` of
   * refusals. Default true.
   */
  learn?: boolean
  /** What a call of a model counts, where not 1. */
  weights?: Record<string, number>
}

/**
 * A call that is without the first byte of its answer (a stream: its first event) for longer than it should be gets a second attempt, whichever
 * answers first is taken, and the other is cancelled; it may be billed as well. Only for calls that are safe to repeat, only where a turn is free at
 * once, and never for the probe of a circuit. Dean and Barroso, "The Tail at Scale", 2013.
 */
export interface HedgeOptions {
  /**
   * Milliseconds, or `p95`: as long as 95 of 100 answers of that model took lately, once 20 of the last 30 to 60 seconds are known. Streams and other
   * calls apart, for up to 100 of both at a time.
   */
  delay: number | 'p95'
  /** Further attempts of one call, each after another delay. Default 1. */
  maxHedges?: number
  /** Further attempts as a share of all calls, above 0 and at most 1; up to 10 are saved up. When everything is slow, not everything is sent twice. Default 0.05. */
  budget?: number
}

/**
 * Answers from memory, of `chat`, `stream`, `embed` and `batch`; the page `docs/caching.md` says more. Two requests are the same if they say the same, however they are
 * written, to the same provider or route, for the same `tenant`, with the same `headers` (but those of traces, `idempotency-key` and `cache-control`). Only whole good answers are
 * kept: no error, none that was cut short by its length or a filter.
 */
export interface CacheOptions {
  /**
   * Bytes of all answers that are kept; what was not asked for the longest goes first. An answer of more than a fourth of it is not kept; 0: none is, and
   * identical calls still share. Default 67,108,864 (64 MiB).
   */
  maxBytes?: number
  /** Milliseconds for which an answer is kept. Default 3,600,000 (an hour). */
  ttl?: number
  /**
   * Which requests. `deterministic`: embeddings, and chats with a temperature of 0 or a `seed`, one choice (`n`), no `store: true` and no
   * `web_search_options`. Default `deterministic`.
   */
  when?: 'deterministic' | 'all'
  /**
   * Whether identical calls in flight share one exchange, if they are made in the same way (`timeouts` but for `total`, `retry`, `recover`, `wire`) and none waits for one that is less
   * urgent. Each has its own `total`; one that is aborted leaves it to the others, and the last cancels it. Default true.
   */
  coalesce?: boolean
  /** Whether the `cache-control` among the `headers` of a call is obeyed here, and not sent: as `control` of {@link CallCacheOptions}. Default false. */
  control?: boolean
}

/** What one call has of its own, of a client that has a cache. */
export interface CallCacheOptions extends Pick<CacheOptions, 'ttl' | 'when' | 'coalesce'> {
  /**
   * Directives by the names of RFC 9111, section 5.2.1, with commas between. `no-store`: none is taken and none kept, as with `cache: false`. `no-cache`: none is taken that is there
   * or under way already, and this one is kept. `max-age=SECONDS`: none that is older. `min-fresh=SECONDS`: none that is kept for less than that yet. `only-if-cached`: one that is
   * kept, or a {@link NotCachedError}.
   */
  control?: string
}

/**
 * Thresholds of the `alert` event, over a rolling window. Raised above a threshold, with 20 calls at least; cleared at or below it for a tenth
 * of the window. `false` leaves one out.
 */
export interface AlertOptions {
  /** Failed calls ÷ calls. Default 0.01. */
  errorRate?: number | false
  /** Retries ÷ calls. Default 0.03. */
  retryRate?: number | false
  /** What 99 of 100 calls take at most, in milliseconds. Default 500. */
  p99?: number | false
  /** At least 1,000 ms. Default 60,000 ms. */
  window?: number
}

export interface ConcurrencyOptions {
  /**
   * Calls that are under way at once; `adaptive`: as many as the provider bears, found out by the latency of its answers and its 429.
   * Default: as many as the pool has connections for.
   */
  max?: number | 'adaptive'
  /**
   * Calls that may wait for their turn, and as many for a socket. One more is refused at once with {@link QueueFullError}. A waiting call takes about 11 KB and its
   * body. Default 10,000.
   */
  maxQueue?: number
  /**
   * So that nothing waits for ever: a call that has waited such a span for each priority between lets three more urgent ones in a row go
   * before it, that came after that, and the fourth turn is its own. Default 5,000 ms.
   */
  agingInterval?: number
}

/** Calls for one tenant share connections with each other and with nobody else. Tenants without calls and sockets are forgotten. */
export interface TenantOptions {
  /** Sockets of one tenant, to all origins together. At most `pool.maxConnections`. Default: as many as there are. */
  maxConnections?: number
  /**
   * Calls of one tenant that this client has under way at a time, whichever provider they go to; attempts that are hedged count each. Those
   * beyond wait for their turn (`timeouts.queue`), and hold no other tenant up. {@link Trunkline.fetch} is not counted. Default: no limit.
   */
  maxConcurrent?: number
  /**
   * Tenants that have calls or sockets at one time. A call for one more is a {@link QueueFullError}; where some have only sockets that rest,
   * these are closed then, and a further try soon after finds room. Default 10,000.
   */
  maxTenants?: number
}

/** Who goes first where calls wait for a connection; among equals who came first. */
export type Priority = 'critical' | 'interactive' | 'batch' | 'background'

export interface WarmupOptions {
  /** Default 1. */
  connections?: number
  /** Whose, by name. Default: the first one's. */
  provider?: string
  /** Stops the waiting. */
  signal?: AbortSignal
}

export interface CloseOptions {
  /** How long running calls may take to finish; 0 for not at all. Default 30,000 ms. */
  drainTimeout?: number
}

// ───────────────────────────── one call ─────────────────────────────

export interface CallOptions {
  /** Cancels the call: it rejects with the signal's reason. Any number of calls may share one signal. */
  signal?: AbortSignal
  /**
   * Added to the client's, and in their place where both have one. Credentials among them (`authorization`, `cookie`, and whatever is named as a
   * key, token or secret) are for one provider: the one of the route's target that stands first, or `provider`. Such a call goes to no other.
   */
  headers?: HeaderFields
  /** In place of the client's, one by one. */
  timeouts?: TimeoutOptions
  /** In place of the client's, one by one. */
  retry?: RetryOptions | false
  /** In place of the client's, one by one; `false`: no answer is taken from memory, none is kept, and no exchange is shared. */
  cache?: CallCacheOptions | false
  /**
   * Who goes first, where calls wait for a turn or a connection: the more urgent; and after three of these whoever
   * {@link ConcurrencyOptions.agingInterval has waited long}. Default `interactive`.
   */
  priority?: Priority
  /** Whom the call is for: it shares connections with calls for the same tenant alone. 1 to 256 bytes; shown in the metrics. Default: nobody. */
  tenant?: string
  /** Sent as `Idempotency-Key`; makes the repetition of a `post` or `events` safe. Visible ASCII. */
  idempotencyKey?: string
  /** Asks this provider and no other, for the model as the request names it: no route is taken. Default: what the model's name leads to. */
  provider?: string
  /**
   * How the answer of a chat that is handed over whole comes. `stream`: as one, so that a stall is seen after `timeouts.firstByte` and `idle` and
   * what is on the way sees traffic. `unary`: in one piece. Default `auto`: as a stream if more than 21,333 tokens are asked for, which may take longer than ten
   * minutes.
   */
  wire?: 'auto' | 'stream' | 'unary'
}

/** As of a call; how it comes is no question. */
export interface StreamOptions extends Omit<CallOptions, 'wire'> {
  /**
   * Of a chat: what becomes of it when it breaks after a piece was handed over; before that, and where {@link ChatStream.final} alone waits for it, it is always tried
   * again, and at the next target. `none`: it fails with {@link StreamInterruptedError}. `restart`: it begins anew, and says so by a chunk before the next piece, with
   * `trunkline: { restart: true }`: what was read before is void. `text()` and `toReadableStream()` have no room for that, and refuse. `continue`: it goes on
   * where it broke, at targets that take the beginning of an answer (`supportsPrefill`); where there is none, and with tools, reasoning or several choices,
   * as with `none`. Default `none`: a reader who knows of no restart would show an answer twice.
   */
  recover?: 'none' | 'restart' | 'continue'
  /**
   * How long small pieces may be gathered before JavaScript is woken; the first is never held back. At most 1,000. Default
   * 5 ms.
   */
  flushInterval?: number
}

/** A promise that also knows how the answer came about. */
export interface Call<T> extends Promise<T> {
  /** Resolves with the answer and its meta; rejects as the call does, and leaves no second rejection unhandled. */
  withMeta(): Promise<{ data: T; meta: CallMeta }>
}

export interface CallMeta {
  /** Names the call in this process. */
  id: string
  /** Who answered: with several targets, perhaps not the one that was asked first. */
  provider: string
  /** The model that answered, as it says itself. */
  model: string
  status: number
  headers: Headers
  /** The provider's own name for the request. */
  requestId: string | null
  /**
   * Whether the answer was kept since an earlier call. Then `headers`, `requestId`, `status` and `usage` are what they were, with an `age` (seconds) among the headers;
   * there are no `attempts`, and no connection.
   */
  cached: boolean
  /** Whether the exchange was that of another call, which was under way: its `attempts`, times and usage are told to all who shared it. */
  coalesced: boolean
  /** Every try, in order; the last is the one that answered. */
  attempts: Attempt[]
  connection: { id: number; protocol: 'h1' | 'h2'; reused: boolean } | null
  /** Milliseconds. `dns`, `connect` (with all that a proxy takes) and `tls` are 0 on a connection that was there. */
  timings: { queued: number; dns: number; connect: number; tls: number; firstByte: number; total: number }
  /** Of the answer that was handed over, and so of the model that gave it. */
  usage: Usage | null
  /** Whether the provider left out what it took, so that `usage`, or a part of `cost`, is an estimate: about four bytes a token. */
  usageEstimated: boolean
  /**
   * What the call cost in US dollars, with all its attempts: those before the one that answered, and rivals that were not first, as far as they are charged for.
   * Null where a model has no price, or nothing has one. Tokens alone: searches, storage and the like are not in it.
   */
  cost: number | null
  /** Paths in the request (`seed`, `messages[2].name`) for which the provider that answered has no words, so that they were left out or done by halves. */
  dropped: string[]
}

export interface Attempt {
  provider: string
  model: string
  /** Null where no answer came. */
  status: number | null
  /** The `code` of what went wrong; `ERR_HEDGED`: given up because another attempt was answered first. */
  error: string | null
  /** Milliseconds, the waits for its turn and its connection included (`timings.queued`). */
  duration: number
  billed: 'yes' | 'no' | 'maybe'
}

/**
 * A chat that comes in pieces. It is read once: by a loop, `text()`, `toReadableStream()` or `final()`; a second reader gets
 * a {@link ConfigError}. `final()` and `finalText()` may be called besides and after a reader that has begun; where they begin
 * themselves, no pieces are handed over, and no other reader may follow.
 *
 * It ends well only if the answer is whole. One that breaks after a piece was handed over fails with
 * {@link StreamInterruptedError}; before that, it is tried again as any call. While the reader does not read, nor is the
 * upstream read.
 */
export interface ChatStream extends AsyncIterable<ChatCompletionChunk>, AsyncDisposable {
  /** The chunks as they come. Leaving the loop cancels the stream. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ChatCompletionChunk>
  /** Only the text of the first choice, gathered: the cheapest way to follow a stream. */
  text(): AsyncIterableIterator<string>
  /** The whole answer, tool calls and usage included; never a truncated one. Without a reader, nothing is handed over before. */
  final(): Promise<ChatCompletion>
  /** The text of the first choice of {@link final}; empty where it has none. */
  finalText(): Promise<string>
  /** A line of JSON for each chunk, as OpenAI's SDK reads it back with `ChatCompletionStream.fromReadableStream`. */
  toReadableStream(): ReadableStream<Uint8Array>
  /** Resolves at the end of the stream, which somebody has to read; rejects as it does, and is no unhandled rejection where nobody awaits it. */
  readonly meta: Promise<CallMeta>
  /** Cancels: whoever reads gets `reason`, by default an AbortError. Without effect after the end. */
  abort(reason?: unknown): void
  /** Cancels, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** Server-sent events as they come. Read once; leaving the loop cancels it. */
export interface EventStream extends AsyncIterable<ServerSentEvent>, AsyncDisposable {
  [Symbol.asyncIterator](): AsyncIterableIterator<ServerSentEvent>
  /** Resolves at the end of the stream, which somebody has to read; rejects as it does, and is no unhandled rejection where nobody awaits it. */
  readonly meta: Promise<CallMeta>
  /** Cancels: whoever reads gets `reason`, by default an AbortError. Without effect after the end. */
  abort(reason?: unknown): void
  /** Cancels, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface ServerSentEvent {
  /** Null where the event has no name. */
  event: string | null
  /** The last id so far. */
  id: string | null
  /** `raw` as JSON where it is JSON, else `raw`. */
  data: unknown
  raw: string
}

// ───────────────────────────── batches ─────────────────────────────

/** A chat, or a call of {@link Trunkline.post}. `customId` comes back with the result. */
export type BatchItem = (ChatRequest & { customId?: string }) | { customId?: string; path: string; body: unknown }

/** Of the options of calls, those that hold for each item. */
export interface BatchOptions extends Omit<CallOptions, 'idempotencyKey'> {
  /** Calls at once. Default 32. */
  concurrency?: number
  /** Called after each item. What it throws is an uncaught exception, and not the batch's failure. */
  onProgress?: (progress: BatchProgress) => void
  /** Take no new items after the first failure. Default false. */
  failFast?: boolean
}

/**
 * `await` it for all results in the order of the requests, or iterate it for each as it completes. One that was awaited may be
 * iterated afterwards, which gives the same results; one that is iterated keeps none of them, and cannot be awaited. A failed call is a result; the batch itself rejects only when it is aborted, with the reason, or when its source throws, with that error.
 * Leaving the loop cancels what runs, and a loop that does not take its results takes no further items either.
 */
export interface Batch<T> extends PromiseLike<BatchResult<T>[]>, AsyncIterable<BatchResult<T>> {
  readonly progress: BatchProgress
  /** Cancels what runs, and takes no further items. */
  abort(reason?: unknown): void
}

export type BatchResult<T> = {
  /** Of the item in the source, from 0. */
  index: number
  customId: string | null
  /** Null where the call failed; what is known then is in the error. */
  meta: CallMeta | null
} & ({ status: 'fulfilled'; value: T } | { status: 'rejected'; reason: unknown })

export interface BatchProgress {
  /** Null where the source does not say. */
  total: number | null
  started: number
  succeeded: number
  failed: number
  inFlight: number
  /** Of the calls that succeeded. */
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number }
  /** Of the same, in US dollars, as far as there are prices. */
  cost: number
  /** Milliseconds since the batch began. */
  elapsed: number
}

/**
 * Of the options of calls, those that hold for each line. `priority` is `'background'` by default. `signal` stops the job as {@link BatchFile.stop} does, and the job
 * then rejects with its reason.
 */
export interface BatchFileOptions extends Omit<CallOptions, 'idempotencyKey'> {
  /** Where failures go. Default: `out.errors.jsonl` beside `out.jsonl`. */
  errors?: string | URL
  /** Calls under way together. Default: as many as the pool may have connections to one origin (`pool.maxConnectionsPerOrigin`, 100). */
  concurrency?: number
  /**
   * How often a line is asked for that fails in a way which may pass, each time with the retries of a call. Default 3. What is no fault of the line (a rate limit, an
   * open circuit, a full queue) is waited for, and does not count.
   */
  tries?: number
  /** What becomes of lines that cannot be sent: they are reported among the errors and the rest goes on, or nothing is sent. Default `'report'`. */
  badLines?: 'report' | 'refuse'
  /** Whether a model without a route is a bad line. Default false: the first provider is asked for it. */
  onlyRoutes?: boolean
  /** Ask again for lines that failed before. Default false: a failure stands. */
  retryFailed?: boolean
  /** A budget that is used up pauses the job, which ends and can be gone on with; or is waited for. Default `'pause'`. */
  onBudget?: 'pause' | 'wait'
  /** How long no line may be settled while calls fail or wait before the job ends, in milliseconds. Default 600_000. */
  patience?: number
  /** How long calls have that are under way when the job is stopped, in milliseconds. Default 30_000. */
  grace?: number
  /** Called each second, and at the end. What it throws is an uncaught exception, and not the job's failure. */
  onProgress?: (progress: BatchFileProgress) => void
  /**
   * Lines are answered by the provider's own batches (OpenAI's files and batches, Anthropic's message batches): within a day, at half the price. Of a route, the first target
   * whose provider has batches is asked. Default false: each line is a call.
   */
  providerBatch?: boolean | ProviderBatchOptions
  /** Lets other processes, on any machines, work on the job by {@link Trunkline.batchWork}. Default: it is this process's own. */
  queue?: BatchQueue & {
    /** Whether this process works too, and not only feeds and gathers. Default true. */
    work?: boolean
    /**
     * A worker that was not heard of for so long, in milliseconds, has lost its lines to others, and so has this process the job. Calls may take longer. Default 30_000; 500 at
     * least.
     */
    claim?: number
  }
}

export interface ProviderBatchOptions {
  /** Between the first looks at a batch, in milliseconds; later ones are further apart, up to twelve times as far. Default 10_000. */
  interval?: number
  /** Of a batch at most. Default, and the most: what the provider takes (OpenAI: 50,000; Anthropic: 100,000). */
  maxRequests?: number
  /** The same in bytes. Default, and the most: what the provider takes (OpenAI: 200 MB; Anthropic: 256 MB). */
  maxBytes?: number
  /** Whether lines that a batch leaves unanswered (they expired, or failed in a way that may pass) are asked for by calls, at their full price. Default true. */
  fallback?: boolean
  /** Ends the batches that earlier runs have left at providers, gathers what they have answered by then, and sends nothing. Default false. */
  cancel?: boolean
}

/** Where a job is that several processes work on. */
export interface BatchQueue {
  /** A Redis or Valkey of 6.2 or later: `redis://…`, `rediss://…`. Default: that of the option `shared`. */
  redis?: string
  /** The job's name, by which they know it. */
  job: string
}

/** As of {@link BatchFileOptions}; what belongs to files is that process's own. */
export interface BatchWorkOptions
  extends Pick<BatchFileOptions, 'concurrency' | 'tries' | 'onBudget' | 'patience' | 'grace' | 'onProgress'>,
    Omit<CallOptions, 'idempotencyKey'> {
  /** Where the job is. */
  queue: BatchQueue
}

/** A job that runs. `await` it for its end. */
export interface BatchFile<Result = BatchFileResult> extends Promise<Result> {
  readonly progress: BatchFileProgress
  /** Takes no further line, and lets what is under way end; `now`: drops it, which is told by the next run as what may be paid twice. */
  stop(options?: {
    /** Default false. */
    now?: boolean
    /** Has batches end at their providers, where else they run on until the next run gathers them. Default false. */
    cancelBatches?: boolean
  }): this
}

export interface BatchFileResult {
  /**
   * `done`: every line is settled, well or not. `stopped`: it was told to. `paused`: a budget is used up. `ended`: no line would have fared better, since a key is
   * refused, a quota is used up, or nothing was settled for as long as `patience`. All but the first can be gone on with.
   */
  status: 'done' | 'stopped' | 'paused' | 'ended'
  /** Why it is paused or has ended. */
  error: TrunklineError | null
  /** When the window of the budget ends. */
  resumesAt: Date | null
  output: string
  /** The file of failures; null where there is none. */
  errors: string | null
  /** Lines that could not be sent, and the first of them. */
  badLines: { count: number; first: { line: number; message: string }[] }
  progress: BatchFileProgress
}

/** What a worker's part came to: it has no files. */
export type BatchWorkResult = Pick<BatchFileResult, 'status' | 'error' | 'resumesAt' | 'progress'>

export interface BatchFileProgress {
  /** Before the first call, all of the input is read once: `checking`. */
  phase: 'checking' | 'running' | 'stopping' | 'ended'
  /** Lines that are not blank; 0 while the input is checked, and of a worker. */
  total: number
  /** Of all runs. */
  succeeded: number
  failed: number
  /** Of these, those of earlier runs. */
  resumed: number
  inFlight: number
  /** Calls that were under way when an earlier run was cut off, or a worker lost. They are made again, and may have been paid twice. */
  repeated: number
  /** Lines that two workers have answered. The second answer is dropped; it was paid for, and is in `cost`. */
  twice: number
  /** Workers that are heard of, where there is a queue. */
  workers: number
  /** Calls that the job made once more, beyond their own retries. */
  retried: number
  checkedBytes: number
  inputBytes: number
  /** Of all runs until the job is done. */
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number }
  /** Of the same, in US dollars, as far as there are prices. */
  cost: number
  /** Milliseconds since the first call of this run. */
  elapsed: number
  /** Why nothing goes on for now, and until when, where that is known, in milliseconds since 1970. */
  waiting: { code: string; message: string; until: number | null } | null
  /** With `providerBatch`: the batches at providers, those of earlier runs too. */
  batches: ProviderBatchState[]
}

export interface ProviderBatchState {
  provider: string
  model: string
  /** Null before the provider has given one. */
  id: string | null
  /** `new`, `sent`, or in the provider's own words. */
  state: string
  requests: number
  completed: number
  failed: number
  /** Whether its results are gathered. */
  isOver: boolean
}

// ───────────────────────────── errors ─────────────────────────────

/**
 * Every rejection is one of these, except that of an aborted call, which is its signal's reason. `code` is stable; `message`
 * is for people and never holds a key or a prompt. `instanceof` holds across two copies of the package.
 */
export declare class TrunklineError extends Error {
  /** `ERR_CONFIG`, `ERR_RATE_LIMIT`, …; `ERR_INTERNAL` is a bug of this package. */
  readonly code: string
  /** With several targets, the last that was asked; the others are in `attempts`. */
  readonly provider: string | null
  readonly model: string | null
  /** The provider's own name for the request that failed. */
  readonly requestId: string | null
  readonly attempts: Attempt[]
  /** Whether the same call may succeed later. */
  readonly retryable: boolean
  /** Whether the provider may have charged for it. */
  readonly billed: 'yes' | 'no' | 'maybe'
  cause?: unknown
}

/** `ERR_CONFIG`: a wrong option, request or use. Nothing was sent. */
export declare class ConfigError extends TrunklineError {}

/** `ERR_API`: an answer that is an error, and of none of the classes below. */
export declare class APIError extends TrunklineError {
  /** Of the answer; of an error inside a good answer, the status that it names or stands for. */
  readonly status: number
  readonly headers: Headers
  /** Of the provider's error. */
  readonly type: string | null
  /** The parameter that the provider's error names. */
  readonly param: string | null
  /** The answer's body: JSON where it is JSON, else the text. The provider's own words, which may repeat a prompt. */
  readonly body: unknown
}
/** `ERR_BAD_REQUEST`: 400. */
export declare class BadRequestError extends APIError {}
/** `ERR_CONTEXT_LENGTH`: the prompt is longer than the model takes, and no target of the route takes more. */
export declare class ContextLengthError extends BadRequestError {}
/** `ERR_CONTENT_FILTER`: refused for its content. */
export declare class ContentFilterError extends BadRequestError {}
/** `ERR_AUTHENTICATION`: 401. */
export declare class AuthenticationError extends APIError {}
/** `ERR_PERMISSION_DENIED`: 403. */
export declare class PermissionDeniedError extends APIError {}
/** `ERR_NOT_FOUND`: 404. */
export declare class NotFoundError extends APIError {}
/** `ERR_CONFLICT`: 409. */
export declare class ConflictError extends APIError {}
/** `ERR_UNPROCESSABLE_ENTITY`: 422. */
export declare class UnprocessableEntityError extends APIError {}
/** `ERR_RATE_LIMIT`: 429, or the credit is gone (402, `insufficient_quota`), in which case it is not `retryable`. */
export declare class RateLimitError extends APIError {
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | null
}
/** `ERR_INTERNAL_SERVER`: 500 and above. */
export declare class InternalServerError extends APIError {}

/** `ERR_CONNECTION`: no answer, or one that broke off. */
export declare class ConnectionError extends TrunklineError {
  readonly phase: 'dns' | 'connect' | 'tls' | 'proxy' | 'receive'
}

/** `ERR_TIMEOUT`: a limit of `timeouts` passed. */
export declare class TimeoutError extends TrunklineError {
  readonly phase: 'connect' | 'queue' | 'firstByte' | 'idle' | 'total'
  /** The limit, in milliseconds. */
  readonly limit: number
}

/** `ERR_STREAM_INTERRUPTED`: the stream broke after a part of the answer had come. */
export declare class StreamInterruptedError extends TrunklineError {
  /** What came of it. Choices that were not through have no `finish_reason`. */
  readonly partial: ChatCompletion
  /** The provider's own error, if an event of the stream told of one: JSON where it is JSON, else the text. Null where it just broke. */
  readonly body: unknown
}

/** `ERR_INVALID_RESPONSE`: an answer that is none: no JSON, no stream of events, too large, badly encoded. */
export declare class InvalidResponseError extends TrunklineError {}

/** `ERR_QUEUE_FULL`: `concurrency.maxQueue` calls wait already, or `tenants.maxTenants` tenants have calls or sockets. */
export declare class QueueFullError extends TrunklineError {}

/** `ERR_CIRCUIT_OPEN`: the target has failed so often that it is left alone for `retryAfter` milliseconds. Nothing was sent. */
export declare class CircuitOpenError extends TrunklineError {
  readonly retryAfter: number
}

/** `ERR_NOT_CACHED`: no answer is kept, and the call wanted no other (`only-if-cached`). Nothing was sent. */
export declare class NotCachedError extends TrunklineError {}

/**
 * `ERR_BUDGET_EXCEEDED`: the call would go beyond a limit of `budget`. Nothing was sent. `retryable` where only what calls under way have spoken for stands in
 * its way.
 */
export declare class BudgetExceededError extends TrunklineError implements BudgetStanding {
  readonly scope: 'all' | 'model' | 'tenant'
  /** Of the model or the tenant. */
  readonly subject: string | null
  readonly unit: 'usd' | 'tokens'
  readonly limit: number
  readonly spent: number
  readonly reserved: number
  /** What this call was reckoned at before it was refused, in the same unit. */
  readonly asked: number
  readonly window: 'hour' | 'day' | 'month'
  readonly resetsAt: number
}

/** `ERR_SHARED`: Redis cannot be asked, and `shared.onUnavailable` is `fail`. Nothing was sent; may be tried again. */
export declare class SharedStateError extends TrunklineError {}

/** `ERR_CLOSED`: the client is closed. */
export declare class ClosedError extends TrunklineError {}

/**
 * `ERR_CASSETTE_MISS`: a cassette has no recording of a request, and nothing was sent. Not tried again, nor anywhere else. The message names the nearest request
 * that has one, and the first places in which the two differ, without what stands there.
 */
export declare class CassetteMissError extends TrunklineError {
  /** The file that was looked into. */
  readonly file: string
  /** Where the request differs from the nearest one that has a recording, 100 places at most. Long texts are cut around the place. */
  readonly differences: CassetteDifference[]
  /** The request, without what is redacted. Not enumerable, nor is `nearest`: they hold whole prompts. */
  readonly request: CassetteRequest
  /** The nearest one that has a recording; null where the file has none. */
  readonly nearest: CassetteRequest | null
}

export interface CassetteRequest {
  method: string
  url: string
  /** JSON where it is JSON, else its text, or how long it is; null where there is none. */
  body: unknown
}

export interface CassetteDifference {
  /** `method`, `url`, or a path in the body: `body.messages[0].content`. */
  path: string
  /** null where nothing is. */
  recorded: unknown
  requested: unknown
}

/**
 * `ERR_JOB`: a job as a whole: its files, most of all. What was settled before is in them, in whole lines.
 */
export declare class JobError extends TrunklineError {
  /**
   * `input`: it cannot be read, or was changed while the job ran. `output`: a file of results cannot be written; `full`: there is no more room for it. `otherInput`:
   * the files of results are of another input, or of no job. `locked`: another process works on this output. `badLines`: lines cannot be sent, and were to be refused.
   * `version`: the journal is of another version of this package.
   */
  readonly reason: 'input' | 'output' | 'full' | 'otherInput' | 'locked' | 'badLines' | 'version'
}

/**
 * `ERR_HOOK`: {@link Hooks.beforeAttempt} threw (`cause` is what), or left headers that cannot be sent, as the message says by their path. That attempt was not
 * sent; `attempts` has those before it.
 */
export declare class HookError extends TrunklineError {}

// ───────────────────────────── figures ─────────────────────────────

export interface Metrics {
  /**
   * Calls of this client since it was made. `retried` counts attempts after a failed one at the same target, `failedOver` steps from one target to the next,
   * `hedged` attempts beside a slow one (`hedge`). `cached` counts calls that were answered from memory, `coalesced` those that waited for the exchange of another:
   * together the requests that were saved.
   */
  requests: {
    started: number
    succeeded: number
    failed: number
    aborted: number
    retried: number
    failedOver: number
    hedged: number
    cached: number
    coalesced: number
    inFlight: number
  }
  /**
   * Calls that wait: those of this client, and of others of its `name`, for their turn, and those of all clients that share the pool for a connection. `wait`: how long
   * calls waited for a connection, those that did not have to and those that gave up (a timeout, an abort) included. `turns`: how long
   * those of this client waited for their turn that had to. `refused`: calls that found too many waiting, or too many tenants.
   */
  queue: { depth: Record<Priority, number>; wait: Histogram; turns: Histogram; refused: number }
  /**
   * Of the answers that are kept, by all clients of its `name`; null without `cache`. `bytes`: with what is kept beside them. `misses`: calls whose answer might have been kept and was not, but those
   * that shared an exchange. `evicted`: to make room; `expired`: their time was over.
   */
  cache: {
    entries: number
    bytes: number
    maxBytes: number
    hits: number
    misses: number
    evicted: number
    expired: number
  } | null
  /** From a call's start to its end, failed ones and those that were answered from memory included. */
  latency: Histogram
  /** From a request to the head of its answer or, in a stream, to the first piece that says something. */
  firstByte: Histogram
  /** Of the pool, which other clients may share. */
  pool: PoolMetrics
  /**
   * By provider, and by provider and model with a slash between, of all clients of its `name`: those that were used and are not forgotten (1,000 models at most).
   * Calls that name no model are at `'default/(none)'`. `failures`: those of the last `circuitBreaker.window`, of the provider those of its
   * models together. `openedAt`: when it last opened, in milliseconds since 1970; null if it has closed since. `transitions`: how often its
   * state has changed.
   */
  circuits: Record<string, { state: CircuitState; failures: number; openedAt: number | null; transitions: number }>
  /**
   * What could go now, and how often there was too little, of all clients of its `name`. Of the provider, by its name: by the limits of `rateLimit`. Of each model, by
   * provider and model as in `circuits`: by what its answers have told, less what was sent since, until a minute after the last of them;
   * a model of which nothing was told and which was not throttled is not there. `requestsRemaining`, `tokensRemaining`: calls and tokens,
   * null where nothing limits them, and no calls while a `Retry-After` lasts. `resetAt`: when all of these are there again, in milliseconds since
   * 1970; null where none is missing. `throttled`: answers of 429 and 529, but for those that say that the credit is gone; of the provider those
   * of all its models.
   */
  limits: Record<
    string,
    { requestsRemaining: number | null; tokensRemaining: number | null; resetAt: number | null; throttled: number }
  >
  /** As the provider reported them. `perSecond`: of the output, over the last minute. */
  tokens: { input: number; output: number; perSecond: number }
  /** What was spent, in US dollars, as far as there are prices; by all clients of its `name`. */
  cost: number
  /** Of bodies. */
  bytes: { sent: number; received: number }
  /** Milliseconds since the client was made. */
  uptime: number
}

export interface DashboardOptions {
  /** 0 to 65535. Default 0: any free one. */
  port?: number
  /** The name or address to listen on. Default `127.0.0.1`. Whoever can reach another one sees the figures: there is no password. */
  host?: string
  /**
   * Further names by which browsers may ask for it, without ports (`ops.example.com`). Default none: `localhost`, loopback addresses, the address that a request came in on, and `host`.
   * Others are answered 403, since a stranger's page could have its name lead here (DNS rebinding).
   */
  hosts?: string[]
  /** Whether it keeps the process alive. Default false. */
  ref?: boolean
}

export interface Dashboard {
  /** `http://127.0.0.1:4400/` */
  readonly url: string
  readonly port: number
  /** Ends at once, with the connections of those who look. */
  close(): Promise<void>
}

export interface DashboardHandlerOptions {
  /** What it is mounted under, where the server does not take that off the URL, as Express does. Default `/`. */
  path?: string
  /** As {@link DashboardOptions.hosts}. */
  hosts?: string[]
}

export interface DashboardHandler {
  /** What is nothing of the page's goes to `next`, or else is answered 404. */
  (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void
  /** Calls are watched no more, and who looks is hung up on. */
  close(): void
}

export interface PrometheusOptions {
  /** Default `prometheus`: the text format 0.0.4. `openmetrics` is OpenMetrics 1.0. */
  format?: 'prometheus' | 'openmetrics'
  /**
   * Labels of every figure, beside its own: 10 at most, of 256 bytes each. Tell clients of one process apart, `{ client: 'batch' }`; figures of the pool
   * have a label `pool` as well, which is the same for clients that share it. Default: none.
   */
  labels?: Record<string, string>
}

/** What of a `Registry` of `prom-client` is used. */
export interface MetricsRegister {
  registerMetric(metric: unknown): void
  removeSingleMetric(name: string): void
}

export interface CostOptions {
  /** Default `all`. */
  window?: 'hour' | 'day' | 'month' | 'all'
  /** The one before that of now. Default false. */
  before?: boolean
}

/** Sums in US dollars. */
export interface CostReport {
  total: number
  currency: 'USD'
  /** What of the total is estimated, since the provider did not report it. */
  estimated: number
  /** By the name that the target was asked for; with how it was served, where that is not the standard way (`gpt-5.4 (flex)`). The 1,001st is `(others)`. */
  byModel: Record<string, ModelCost>
  byProvider: Record<string, number>
  byTenant: Record<string, number>
  /** Models that were used and have no price: as `pricing` may have them. */
  unpriced: string[]
  /** Null without `budget`. Of its window, whatever is asked for. */
  budget: BudgetReport | null
}

export interface ModelCost {
  /** Attempts that are charged for, or may be. */
  requests: number
  /** All that went in, cached and written to a cache included. */
  inputTokens: number
  cachedInputTokens: number
  cacheWriteTokens: number
  /** All that came out, thoughts included. */
  outputTokens: number
  reasoningTokens: number
  cost: number
  estimated: number
  /** How many of the requests have no price. */
  unpriced: number
}

export interface BudgetReport {
  /** Of all calls, in dollars; null where they have none. */
  limit: number | null
  spent: number
  /** What calls under way have spoken for. */
  reserved: number
  window: 'hour' | 'day' | 'month'
  /** Milliseconds since 1970. */
  resetsAt: number
  /** Every limit, those of models and of tenants that have spent something included. */
  limits: ({ scope: 'all' | 'model' | 'tenant'; name: string | null } & BudgetStanding)[]
  /** What is wrong with the file of `state`, or was when it was opened. */
  problem: string | null
}

/** How a limit stands, in US dollars or tokens. */
export interface BudgetStanding {
  unit: 'usd' | 'tokens'
  limit: number
  spent: number
  reserved: number
  window: 'hour' | 'day' | 'month'
  /** Milliseconds since 1970. */
  resetsAt: number
}

export interface SavingsOptions {
  /** What an hour of waiting costs, in US dollars: of a machine, or of somebody. Gives `timeValue`. Default: none. */
  hourlyCost?: number
}

/** Milliseconds, and US dollars. */
export interface SavingsReport {
  /** How long the client has been there. */
  uptime: number
  /** Requests that found a connection meanwhile, of the pool, which other clients may share. */
  handshakesAvoided: number
  /** What a handshake has taken in the mean: DNS, TCP and TLS. */
  handshake: number
  /** What those that were avoided would have taken. */
  timeSaved: number
  /** Answers that were not asked for again, by any client of its `name`, and what they had cost. */
  requestsSaved: number
  costSaved: number
  /** What was spent meanwhile, by any client of its `name`. */
  cost: number
  /** With `hourlyCost`: what the time saved is worth. */
  timeValue?: number
  /** All of it in thirty days at this rate. Null before the first minute: there is no rate yet. */
  perMonth: {
    handshakesAvoided: number
    timeSaved: number
    requestsSaved: number
    costSaved: number
    cost: number
    timeValue?: number
  } | null
}

export interface PoolMetrics {
  /** Sockets. `draining`: closing, or HTTP/2 that only finishes its streams. `peak`: the most there were. */
  connections: { active: number; idle: number; connecting: number; draining: number; peak: number; max: number }
  /** Share of `connections.max` in use, 0 to 1. */
  utilization: number
  /** Sockets opened so far. */
  opened: number
  /** Sockets closed so far, by why. */
  closed: Record<CloseReason, number>
  /** TLS handshakes that resumed a session. */
  tlsResumed: number
  /** Requests that found a connection. */
  reused: number
  /** reused ÷ (reused + opened), 0 to 1. */
  reuseRate: number
  /** DNS, TCP and TLS together. */
  handshake: Histogram
  /** Milliseconds that the reused connections' handshakes had taken. */
  handshakeTimeSaved: number
  /** Waiting for a socket or a stream, however it ended. */
  acquireWait: Histogram
  /** Of HTTP/2 connections. `capacity`: what the open ones take together; `perConnection`: the mean of active ones on each. */
  streams: { active: number; capacity: number; perConnection: number }
  origins: OriginMetrics[]
}

/** An origin or, with lanes and tenants, the part of it that one of them has. */
export interface OriginMetrics {
  origin: string
  /** Of this client, if the origin is its own. */
  provider: string | null
  tenant: string | null
  lane: 'streaming' | 'unary' | null
  /** What it spoke last. */
  protocol: 'h1' | 'h2' | null
  active: number
  idle: number
  connecting: number
  waiting: number
  streams: number
  opened: number
  reused: number
  closed: number
}

/**
 * Milliseconds. `mean`, `min` and `max` are exact to a microsecond; the percentiles have two significant figures and lie within `min` and
 * `max`. All 0 where `count` is.
 */
export interface Histogram {
  count: number
  mean: number
  min: number
  max: number
  p50: number
  p90: number
  p99: number
}

// ───────────────────────────── OpenAI's wire shapes ─────────────────────────────
//
// With their common fields. Requests take any further field of a provider, and of the `openai` package's own types, which may
// be passed as they are. Answers are interfaces: a further field of a provider is declared by
// `declare module 'trunkline' { interface ChatCompletionMessage { citations?: string[] } }`.

/** With a provider's own fields, or without: interfaces, as those of the `openai` package, are no records of what is unknown. */
export type Open<T> = T | (T & { [field: string]: unknown })

export type ChatRequest = Open<ChatRequestFields>
export interface ChatRequestFields {
  model: string
  messages: ChatMessage[]
  /** Set by `chat` (false) and `stream` (true), whatever is said here. */
  stream?: boolean | null
  /** In a stream, usage is always asked for unless this is given; its chunk is handed over only if `include_usage` is. */
  stream_options?: { include_usage?: boolean; include_obfuscation?: boolean } | null
  temperature?: number | null
  top_p?: number | null
  max_tokens?: number | null
  max_completion_tokens?: number | null
  n?: number | null
  stop?: string | string[] | null
  seed?: number | null
  presence_penalty?: number | null
  frequency_penalty?: number | null
  logit_bias?: Record<string, number> | null
  logprobs?: boolean | null
  top_logprobs?: number | null
  reasoning_effort?: 'none' | 'minimal' | 'low' | 'medium' | 'high' | 'xhigh' | 'max' | null
  response_format?:
    | { type: 'text' }
    | { type: 'json_object' }
    | {
        type: 'json_schema'
        json_schema: { name: string; description?: string; schema?: Record<string, unknown>; strict?: boolean | null }
      }
  tools?: ChatTool[]
  tool_choice?: ChatToolChoice
  parallel_tool_calls?: boolean
  metadata?: Record<string, string> | null
  store?: boolean | null
  user?: string
}

export type ChatMessage = Open<
  DeveloperMessage | SystemMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
>

export interface DeveloperMessage {
  role: 'developer'
  content: string | Open<TextPart>[]
  name?: string
}
export interface SystemMessage {
  role: 'system'
  content: string | Open<TextPart>[]
  name?: string
}
export interface UserMessage {
  role: 'user'
  content: string | UserPart[]
  name?: string
}
export interface AssistantMessage {
  role: 'assistant'
  content?: string | Open<TextPart | RefusalPart>[] | null
  refusal?: string | null
  tool_calls?: ToolCall[]
  name?: string
  /** Of an answer, which goes back as it came: see {@link ChatCompletionMessage}. */
  thinking_blocks?: ThinkingBlock[]
  extra_content?: ExtraContent
}
export interface ToolMessage {
  role: 'tool'
  content: string | Open<TextPart>[]
  tool_call_id: string
}
/** Superseded by {@link ToolMessage}. */
export interface FunctionMessage {
  role: 'function'
  content: string | null
  name: string
}

export type UserPart = Open<TextPart | ImagePart | AudioPart | FilePart>
export interface TextPart {
  type: 'text'
  text: string
}
export interface ImagePart {
  type: 'image_url'
  image_url: { url: string; detail?: 'auto' | 'low' | 'high' | 'original' }
}
export interface AudioPart {
  type: 'input_audio'
  input_audio: { data: string; format: 'wav' | 'mp3' }
}
export interface FilePart {
  type: 'file'
  file: { file_data?: string; file_id?: string; filename?: string }
}
export interface RefusalPart {
  type: 'refusal'
  refusal: string
}

export type ChatTool = Open<FunctionTool | CustomTool>
export interface FunctionTool {
  type: 'function'
  function: { name: string; description?: string; parameters?: Record<string, unknown>; strict?: boolean | null }
}
export interface CustomTool {
  type: 'custom'
  custom: {
    name: string
    description?: string
    format?: { type: 'text' } | { type: 'grammar'; grammar: { definition: string; syntax: 'lark' | 'regex' } }
  }
}
export type ChatToolChoice =
  | 'none'
  | 'auto'
  | 'required'
  | { type: 'function'; function: { name: string } }
  | { type: 'custom'; custom: { name: string } }
  | { type: 'allowed_tools'; allowed_tools: { mode: 'auto' | 'required'; tools: { [field: string]: unknown }[] } }

export type ToolCall = FunctionToolCall | CustomToolCall
export interface FunctionToolCall {
  id: string
  type: 'function'
  /** `arguments` is JSON as text, written by the model. */
  function: { name: string; arguments: string }
  /** Gemini's signature of the call, which it wants back. */
  extra_content?: ExtraContent
}
export interface CustomToolCall {
  id: string
  type: 'custom'
  custom: { name: string; input: string }
}

export interface ChatCompletion {
  id: string
  object: 'chat.completion'
  /** Seconds since 1970. */
  created: number
  model: string
  choices: ChatCompletionChoice[]
  usage?: Usage
  system_fingerprint?: string
  service_tier?: 'auto' | 'default' | 'flex' | 'scale' | 'priority' | 'fast' | null
}
export interface ChatCompletionChoice {
  index: number
  message: ChatCompletionMessage
  finish_reason: FinishReason
  /** The provider's own word, where it says more: `refusal`, `SAFETY`. */
  native_finish_reason?: string | null
  logprobs: Logprobs | null
}
export interface ChatCompletionMessage {
  role: 'assistant'
  content: string | null
  refusal: string | null
  tool_calls?: ToolCall[]
  /** Of providers that show their model's reasoning. */
  reasoning_content?: string | null
  /** Anthropic's thinking, with its signatures: the message that goes back has to have it where tools are used. */
  thinking_blocks?: ThinkingBlock[]
  /** Anthropic's, in its words. */
  citations?: { [field: string]: unknown }[]
  /** Sources, as OpenAI's search has them. */
  annotations?: Annotation[]
  /** Images that the model made, as data URLs. */
  images?: GeneratedImage[]
  /** What Gemini wants back with the message, and what OpenAI's shape has no name for. */
  extra_content?: ExtraContent
}
/** A block in Anthropic's words: `thinking`, `redacted_thinking`, or of a tool that Anthropic runs. */
export interface ThinkingBlock {
  type: string
  thinking?: string
  signature?: string
  [field: string]: unknown
}
export interface Annotation {
  type: 'url_citation'
  url_citation: { start_index: number; end_index: number; title: string; url: string }
}
export interface GeneratedImage {
  type: 'image_url'
  image_url: { url: string }
}
/** As Google's own endpoint for OpenAI's shape has it. */
export interface ExtraContent {
  google?: {
    thought_signature?: string
    parts?: { [field: string]: unknown }[]
    grounding_metadata?: unknown
    url_context_metadata?: unknown
    citation_metadata?: unknown
  }
}
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'content_filter' | 'function_call'

export interface ChatCompletionChunk {
  id: string
  object: 'chat.completion.chunk'
  /** Seconds since 1970. */
  created: number
  model: string
  choices: ChatCompletionChunkChoice[]
  usage?: Usage | null
  system_fingerprint?: string
  service_tier?: 'auto' | 'default' | 'flex' | 'scale' | 'priority' | 'fast' | null
  /** With `recover: 'restart'`: what came before this chunk, which has no choices, is void. */
  trunkline?: { restart: true }
}
export interface ChatCompletionChunkChoice {
  index: number
  delta: ChatCompletionDelta
  finish_reason: FinishReason | null
  native_finish_reason?: string | null
  logprobs?: Logprobs | null
}
export interface ChatCompletionDelta {
  role?: 'developer' | 'system' | 'user' | 'assistant' | 'tool'
  content?: string | null
  refusal?: string | null
  tool_calls?: ToolCallDelta[]
  /** Of providers that show their model's reasoning. */
  reasoning_content?: string | null
  /** In the last delta before the end. */
  thinking_blocks?: ThinkingBlock[]
  citations?: { [field: string]: unknown }[]
  images?: (GeneratedImage & { index: number })[]
  extra_content?: ExtraContent
}
export interface ToolCallDelta {
  index: number
  id?: string
  type?: 'function' | 'custom'
  function?: { name?: string; arguments?: string }
  custom?: { name?: string; input?: string }
  extra_content?: ExtraContent
}

export interface Logprobs {
  content: TokenLogprob[] | null
  refusal: TokenLogprob[] | null
}
export interface TokenLogprob {
  token: string
  bytes: number[] | null
  logprob: number
  top_logprobs: { token: string; bytes: number[] | null; logprob: number }[]
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  total_tokens: number
  /** `cache_write_tokens`: Anthropic's, written to the cache. */
  prompt_tokens_details?: { cached_tokens?: number; cache_write_tokens?: number; audio_tokens?: number }
  completion_tokens_details?: {
    reasoning_tokens?: number
    audio_tokens?: number
    accepted_prediction_tokens?: number
    rejected_prediction_tokens?: number
  }
}

export type EmbeddingRequest = Open<EmbeddingRequestFields>
export interface EmbeddingRequestFields {
  model: string
  /** A text, several, or the same as tokens. */
  input: string | string[] | number[] | number[][]
  dimensions?: number
  encoding_format?: 'float' | 'base64'
  user?: string
}
export interface EmbeddingResponse {
  object: 'list'
  data: Embedding[]
  model: string
  usage: { prompt_tokens: number; total_tokens: number }
}
export interface Embedding {
  object: 'embedding'
  index: number
  /** With `encoding_format: 'base64'`, a string in truth. */
  embedding: number[]
}

/**
 * An upstream, cassettes and matchers for test suites and demos.
 *
 * @module trunkline/testing
 */

/**
 * An upstream on loopback, started in milliseconds, which records what it is asked and fails as it is told to. It speaks HTTP/1.1
 * and HTTP/2, and answers with text that follows from the seed and the prompt, in the protocol of the path:
 *
 * - OpenAI: `/chat/completions`, `/embeddings` and `/models`, with or without a leading `/v1`, and Azure's
 *   `/openai/deployments/{name}/…?api-version=…`. Requests are read leniently, for those who speak it differ.
 * - Anthropic: `/messages`, with or without `/v1`. A key (`x-api-key`) and `anthropic-version` are required.
 * - Gemini: `/v1beta/models/{model}:generateContent`, `:streamGenerateContent?alt=sse`, `:embedContent`, `:batchEmbedContents`.
 *   A key is required (`x-goog-api-key` or `?key=`).
 *
 * What the real Anthropic and Gemini refuse about a request is refused, with status 400 in their own shape. The same chat is
 * answered by the same text in each protocol. A chat whose last message is the assistant's, and the beginning of that text, is
 * gone on with: only the rest is said, and white space that was given is not said again. It does not keep the process alive.
 */
export declare class MockUpstream implements AsyncDisposable {
  /** Rejects with a ConfigError for a wrong option, or a port that is taken. */
  static start(options?: MockOptions): Promise<MockUpstream>
  private constructor()

  /** `http://127.0.0.1:…`, or `https://127.0.0.1:…` with `tls`: to be the `baseURL` of a client. */
  readonly url: string
  /** With `tls`, the certificate to trust, in PEM: for `pool.tls.ca`. Else undefined. */
  readonly ca: string | undefined

  /**
   * Answers for requests that match; the last one that matches wins. A request matches an object whose fields its body holds,
   * deeply, as it came or as a request of OpenAI's: `{ model }` and `{ messages }` match in every protocol; `{ path }` alone,
   * whatever its query; or a function that says so.
   * @throws ConfigError for an answer that cannot be given.
   */
  reply(match: MockMatch, answer: MockAnswer): this

  /**
   * The next requests meet this fault; the oldest that fits is met first.
   * @throws ConfigError for a fault that there is not.
   */
  fault(fault: MockFault, options?: FaultOptions): this

  /** The last 10,000 requests, the oldest first. Each reading is a new copy. */
  readonly requests: RecordedRequest[]
  readonly connections: Connections

  /** Forgets replies, faults and requests; connections stay. */
  reset(): void
  /** Ends at once, with every connection. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Times are milliseconds. */
export interface MockOptions {
  /** On 127.0.0.1. Default 0: any free one. */
  port?: number
  /** TLS, with a certificate of the process's own authority. Default false. */
  tls?: boolean
  /** HTTP/2: over TLS by ALPN, in plain text by prior knowledge. Default true; false speaks HTTP/1.1 alone. */
  http2?: boolean
  /** Of every text, vector and jitter. Default 0. */
  seed?: number
  /** Pace of each answer; one that comes whole takes as long as its tokens would. Default: full speed. */
  tokensPerSecond?: number
  /** Before the head of each answer, a tenth more or less. Default 0. */
  latency?: number
  /** What a round trip costs, beside what loopback costs. Default 0. */
  roundTrip?: number
  /** Beyond it, requests are answered 429 with the time to come back, as the provider says it. Default: none. */
  rateLimit?: MockRateLimit
  /**
   * The keys that are known; any other, or none, is answered 401 (by Gemini 400 with `API_KEY_INVALID`, or 403). Default: any key,
   * and with OpenAI's protocol none.
   */
  keys?: Record<string, MockKey>
  /** Whether a chat may end with an assistant's message, to be gone on with; else it is answered 400. Default true. */
  prefill?: boolean
  /** What holds for single models; one that is not here is taken as well. */
  models?: Record<string, MockModel>
  /** Of files and batches (OpenAI's `/files` and `/batches`, Anthropic's `/messages/batches`), which are kept in memory until `reset()`. */
  batches?: MockBatches
  /** Streams that an HTTP/2 client may have open on a connection. Default 200. */
  maxConcurrentStreams?: number
  /** How long a connection may be idle before it is closed. Default: for ever. */
  keepAliveTimeout?: number
  /** Requests that a connection serves before it is closed. Default: any number. */
  requestsPerConnection?: number
  /** Whether requests are kept. Default true; false is faster, for benchmarks. */
  record?: boolean
}

export interface MockBatches {
  /** False answers 404, as relays do that have no batches. Default true. */
  enabled?: boolean
  /** Milliseconds until a batch is over. Default 0. */
  delay?: number
  /** Every so manieth request of a batch expires. */
  expireEvery?: number
  /** Every so manieth request of a batch is answered 500. */
  failEvery?: number
  /** The code with which whole batches fail before anything of them is processed: `'token_limit_exceeded'`. */
  refuse?: string
}

export interface MockRateLimit {
  requestsPerSecond?: number
  /** Tokens of prompts and answers together. */
  tokensPerMinute?: number
  /** Requests that may come at once. Default: those of one second. */
  burst?: number
}

export interface MockKey {
  /** In place of the upstream's own. */
  rateLimit?: MockRateLimit
  /** Answered like a key that is not known. Default false. */
  revoked?: boolean
}

export interface MockModel {
  /** Longer prompts are answered 400, in the provider's words for it. Four characters are a token. */
  maxInputTokens?: number
  /** In place of the upstream's own. */
  prefill?: boolean
}

export type MockMatch = { path: string } | { [field: string]: unknown } | ((request: RecordedRequest) => boolean)

/** The content, or all of an answer. */
export type MockAnswer =
  | string
  | {
      content?: string
      toolCalls?: MockToolCall[]
      /** In OpenAI's words, put into those of the request's protocol; or in those. Default: estimated. */
      usage?: Record<string, unknown>
      /** In OpenAI's words or the protocol's own. Default `stop`, or `tool_calls` where there are some. */
      finishReason?: string
      /** Deltas that a stream's content is split into. Default: one for each token. */
      chunks?: number
      headers?: Record<string, string>
      /** An exact JSON body, in place of a chat's. */
      json?: unknown
      /** An exact text, in place of a chat's. Its type is `text/plain` by default. */
      raw?: { body: string; contentType?: string }
      /** 200 to 999. Default 200. */
      status?: number
    }

export interface MockToolCall {
  id?: string
  type?: string
  index?: number
  /** `arguments` is JSON as text. */
  function: { name: string; arguments: string }
}

/** What goes wrong. Times are milliseconds; an answer that comes whole is cut in the middle, whatever `afterTokens`. */
export type MockFault =
  /** An error answer; without a body the provider's usual one for that status. */
  | { kind: 'status'; status: number; body?: unknown; headers?: Record<string, string> }
  /** A TCP reset, or RST_STREAM; a number is of tokens. `accept`: the next connection. Default `request`. */
  | { kind: 'reset'; after?: 'accept' | 'request' | 'headers' | number }
  /** The request is read, and nothing answered for this long. Default: for ever. */
  | { kind: 'silence'; for?: number }
  /** A pause in the middle. */
  | { kind: 'stall'; afterTokens: number; for: number }
  /** Each 0 by default. */
  | { kind: 'slow'; firstToken?: number; perToken?: number }
  /** The body ends early: broken off, or with `clean` as if that were all. */
  | { kind: 'cut'; afterTokens: number; clean?: boolean }
  /** An event, counted from 1, is broken JSON. */
  | { kind: 'malformed'; atEvent: number }
  /** The stream ends without `[DONE]`, or Anthropic's `message_stop`; Gemini's has no such thing. */
  | { kind: 'no-done' }
  /**
   * An event that tells of an error, and the end. A body in another provider's shape is put into that of the request's protocol;
   * without a body it is the provider's usual one.
   */
  | { kind: 'error-in-stream'; afterTokens: number; body?: unknown }
  /** GOAWAY: the request is answered, or refused. HTTP/1.1: answered with `connection: close`, or closed. Default `processed`. */
  | { kind: 'goaway'; lastStream?: 'processed' | 'refused' }
  /** The answer, and then a close that nobody announced. */
  | { kind: 'close-idle' }
  /** `content-length` is off by so many bytes. */
  | { kind: 'wrong-length'; by: number }
  /** A byte within the text that is no UTF-8. */
  | { kind: 'bad-utf8' }
  /** Bytes that are no HTTP, and the end of the connection. */
  | { kind: 'garbage' }

export interface FaultOptions {
  /** How many requests meet it. Default 1, or any number within `for`. */
  times?: number
  /** For how many milliseconds from now. Default: until `times` requests have met it. */
  for?: number
  /** Only requests for this model. */
  model?: string
  /** Only requests with this key, wherever their protocol has it. */
  key?: string
}

export interface RecordedRequest {
  method: string
  /** With its query. */
  path: string
  /** Names in lower case; repeated fields joined by a comma. */
  headers: Record<string, string>
  /** As it came: JSON where it is JSON, else the text; `''` where there was none. */
  body: unknown
  /** Number of the connection, from 1. */
  connection: number
  /** Number of the HTTP/2 stream on its connection, from 1. */
  stream: number | null
  /** Milliseconds since 1970. */
  at: number
}

/** So far. */
export interface Connections {
  opened: number
  open: number
  closed: number
  /** TLS handshakes that resumed a session. */
  handshakesResumed: number
}

// ───────────────────────────── cassettes ─────────────────────────────

/**
 * A file of recorded answers, to be the `cassette` of a client: `new Trunkline({ cassette: cassette('test/tapes/greeting.json') })`. It answers `chat`, `stream`,
 * `embed`, `post`, `get`, `events`, `batch` and `fetch` (and so the SDKs over it) from the file, and all else is as ever: retries, fail-over, streams,
 * errors, figures. What is replayed comes at once: pauses between pieces and waits before retries are not waited for.
 *
 * A request is matched by its method, its URL and its body; of JSON neither the order of members nor white space counts. The n-th of equal requests gets the n-th
 * recording, and those behind the last one get that. Clients that are given one cassette count together; each call of `cassette()` counts anew.
 *
 * Recorded are answers, those that are errors included. What fails without one (no connection, a timeout, an abort) is not; a stream that its reader leaves is
 * recorded as far as it came.
 * @param path Of a file, which need not be there; relative to the working directory. Or a `file:` URL.
 * @throws ConfigError for a wrong option, and for a file that is no cassette, by its line. Such a file is never overwritten.
 */
export declare function cassette(path: string | URL, options?: CassetteOptions): Cassette

export interface CassetteOptions {
  /**
   * - `replay`: the file alone answers. The network is never asked, not even for an address. A request that is not there rejects with `CassetteMissError`.
   * - `auto`: what the file had when it was opened is replayed, and what it had not is asked for and recorded.
   * - `record`: everything is asked for and recorded, in the place of what the file had.
   *
   * Default: the environment's TRUNKLINE_CASSETTE; else `replay` where CI is set, and `auto` where it is not.
   */
  mode?: 'replay' | 'record' | 'auto'
  /**
   * What is written as `REDACTED`, and makes no difference: headers of answers and parameters of URLs by name; members of JSON by path (`$.user`,
   * `$.messages[*].name`, `$..email`), of requests, answers and events alike; `origin` for scheme, host and port of each URL. Headers of requests are never written,
   * and credentials are redacted wherever they stand. Default: nothing more.
   */
  redact?: string[]
}

export interface Cassette {
  /** Absolute. */
  readonly path: string
  readonly mode: 'replay' | 'record' | 'auto'
}

// ───────────────────────────── matchers ─────────────────────────────

/** For `expect.extend(matchers)`, in Jest and in Vitest. */
export declare const matchers: {
  [Name in keyof TrunklineMatchers]: (
    this: MatcherContext,
    received: unknown,
    ...expected: Parameters<TrunklineMatchers[Name]>
  ) => MatcherResult | Promise<MatcherResult>
}

/** What `expect` gives a matcher, in Jest and in Vitest. */
export interface MatcherContext {
  equals(a: unknown, b: unknown): boolean
  utils: { printExpected(value: unknown): string; printReceived(value: unknown): string }
}

/** What a matcher found. */
export interface MatcherResult {
  pass: boolean
  message(): string
}

/**
 * What `expect` has with them. To tell TypeScript, once in a project:
 *
 * ```ts
 * import type { TrunklineMatchers } from 'trunkline/testing'
 * // Vitest 5
 * declare module 'vitest' { interface Matchers<R, T> extends TrunklineMatchers<R> {} }
 * // Vitest 3.2 and 4
 * declare module 'vitest' { interface Matchers<T = any> extends TrunklineMatchers<T> {} }
 * // Jest
 * declare module 'expect' { interface Matchers<R extends void | Promise<void>, T = unknown> extends TrunklineMatchers<R> {} }
 * ```
 */
export interface TrunklineMatchers<R = unknown> {
  /** Of a `MockUpstream`: whether a request like this came; any, without `match`. */
  toHaveReceived(match?: RequestMatch): R
  /** Of a `MockUpstream`: how many requests like this came. */
  toHaveReceivedTimes(times: number, match?: RequestMatch): R
  /** Of a `MockUpstream`: how many connections were opened. */
  toHaveOpenedConnections(count: number): R
  /** Of a promise, or a function that gives one: whether it rejects with an error of this `code` (`ERR_RATE_LIMIT`) that has these properties. To be awaited. */
  toRejectWithCode(code: string, properties?: Record<string, unknown>): Promise<void>
  /** Of a chat completion, or a message of one: whether it calls this tool, with arguments that hold these. */
  toHaveToolCall(name: string, args?: unknown): R
}

/** Each may be a pattern, or what `expect` makes (`expect.stringContaining('x')`). A function finds requests by itself. */
export type RequestMatch =
  | {
      method?: unknown
      /** Without its query, unless this has one. */
      path?: unknown
      /** As the request has it, in its body or its path. */
      model?: unknown
      /** Those that are named, in any case. */
      headers?: Record<string, unknown>
      /** Holds these members, deeply; arrays are of the same length. */
      body?: unknown
    }
  | ((request: RecordedRequest) => boolean)

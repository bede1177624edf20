// What the typings refuse. A line that they take is an error here.

import type OpenAI from 'openai'
import { type ChatCompletion, type ChatRequest, presets, recommendPool, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const messages = [{ role: 'user' as const, content: 'Hello' }]
declare const line: Trunkline
declare const upstream: MockUpstream

// Options.
// @ts-expect-error: not an option
new Trunkline({ timeout: 5 })
// @ts-expect-error: a number
new Trunkline({ timeouts: { total: '5s' } })
// @ts-expect-error: not an option
new Trunkline({ timeouts: { header: 5 } })
// @ts-expect-error: not an option
new Trunkline({ pool: { maxConnection: 5 } })
// @ts-expect-error: not one of the modes
new Trunkline({ pool: { http2: true } })
// @ts-expect-error: not a version that is spoken
new Trunkline({ pool: { tls: { minVersion: 'TLSv1' } } })
// @ts-expect-error: only false
new Trunkline({ pool: { proxy: true } })
// @ts-expect-error: a list
new Trunkline({ pool: { noProxy: 'localhost' } })
// @ts-expect-error: only false
new Trunkline({ retry: true })
// @ts-expect-error: not a strategy
new Trunkline({ retry: { strategy: 'fast' } })
// @ts-expect-error: gives no string
new Trunkline({ apiKey: () => 5 })
// @ts-expect-error: no URL
new Trunkline({ providers: { a: { apiKey: 'k' } } })
// @ts-expect-error: a total, which is of all providers
new Trunkline({ providers: { a: { baseURL: 'https://a.example', pool: { maxConnections: 5 } } } })
// @ts-expect-error: not a protocol
new Trunkline({ protocol: 'bedrock' })
// @ts-expect-error: no provider
new Trunkline({ routes: { fast: { model: 'm' } } })
// @ts-expect-error: gives no name
new Trunkline({ routes: { fast: { select: () => 5 } } })
// @ts-expect-error: gives it later
new Trunkline({ routes: { fast: { select: async () => 'm' } } })
// @ts-expect-error: not a way
new Trunkline({ routes: { fast: { targets: [{ provider: 'a' }], onContentFilter: 'retry' } } })
// @ts-expect-error: not a strategy
new Trunkline({ routes: { fast: { targets: [{ provider: 'a' }], strategy: 'random' } } })
// @ts-expect-error: of a call, wherever it goes
new Trunkline({ providers: { a: { baseURL: 'https://a.example', timeouts: { total: 5 } } } })
// @ts-expect-error: no price of what is written
new Trunkline({ pricing: { m: { input: 1 } } })
// @ts-expect-error: only false
new Trunkline({ cache: true })
// @ts-expect-error: not one of the ways
new Trunkline({ cache: { when: 'never' } })
// @ts-expect-error: directives are a call's
new Trunkline({ cache: { control: 'no-cache' } })
// @ts-expect-error: the client's
line.chat({ model: 'm', messages }, { cache: { maxBytes: 5 } })
// @ts-expect-error: not a window
new Trunkline({ budget: { limit: 5, window: 'week' } })
// @ts-expect-error: a share is a number
new Trunkline({ budget: { limit: 5, alertAt: ['50%'] } })
// @ts-expect-error: not a window
line.costs({ window: 'week' })
// @ts-expect-error: values are strings
new Trunkline({ headers: { 'x-n': 1 } })

// Calls.
// @ts-expect-error: no model
line.chat({ messages })
// @ts-expect-error: no messages
line.chat({ model: 'm' })
// @ts-expect-error: not a role
line.chat({ model: 'm', messages: [{ role: 'robot', content: 'x' }] })
// @ts-expect-error: a number
line.chat({ model: 'm', messages, temperature: 'hot' })
// @ts-expect-error: of streams
line.chat({ model: 'm', messages }, { flushInterval: 5 })
// @ts-expect-error: not a signal
line.chat({ model: 'm', messages }, { signal: new AbortController() })
// @ts-expect-error: a name
line.chat({ model: 'm', messages }, { tenant: 7 })
// @ts-expect-error: not a priority
line.chat({ model: 'm', messages }, { priority: 'high' })
// @ts-expect-error: a name
line.chat({ model: 'm', messages }, { provider: { name: 'a' } })
// @ts-expect-error: not a way
line.chat({ model: 'm', messages }, { wire: 'websocket' })
// @ts-expect-error: of streams
line.chat({ model: 'm', messages }, { recover: 'restart' })
// @ts-expect-error: of what comes whole
line.stream({ model: 'm', messages }, { wire: 'unary' })
// @ts-expect-error: not a way
line.stream({ model: 'm', messages }, { recover: 'always' })
// @ts-expect-error: no key
line.rotateKey('a')
// @ts-expect-error: gives no string
line.rotateKey('a', () => 5)
// @ts-expect-error: no input
line.embed({ model: 'm' })
// @ts-expect-error: no body
line.post('/x')
// @ts-expect-error: one key for many calls would give all of them the first one's answer
line.batch([], { idempotencyKey: 'k' })
// @ts-expect-error: not iterable
line.batch({ model: 'm', messages })
// @ts-expect-error: no URL
line.fetch({})
// @ts-expect-error: it is the client's
line.fetch = fetch
// @ts-expect-error: no format of theirs
line.prometheus({ format: 'json' })
// @ts-expect-error: labels are strings
line.prometheus({ labels: { n: 1 } })
// @ts-expect-error: no registry
line.registerMetrics({})

// Events and sizes.
// @ts-expect-error: not an event
line.on('connections', () => {})
// @ts-expect-error: no member of it
line.on('budget', ({ percent }) => percent)
// @ts-expect-error: a slip
line.on('connection', (event) => event.reasons)
// @ts-expect-error: no interval
recommendPool({ peakConcurrent: 5, responseTime: 100 })
// @ts-expect-error: not a preset
presets.cloud
// @ts-expect-error: frozen
presets.cli = {}

// Hooks and logs.
// @ts-expect-error: a header is a string
new Trunkline({ hooks: { beforeAttempt: ({ headers }) => void (headers['x-n'] = 1) } })
// @ts-expect-error: a slip
new Trunkline({ hooks: { beforeAtempt: () => {} } })
// @ts-expect-error: no debug
new Trunkline({ logger: { error() {}, warn() {}, info() {} } })
// @ts-expect-error: not a level
line.setLogLevel('verbose')

// What comes back.
declare const completion: ChatCompletion
// @ts-expect-error: a slip
completion.choises
// @ts-expect-error: may be null
completion.choices[0].message.content.length
// @ts-expect-error: unknown until it is looked at
;(await line.get('/models')).data

declare const request: ChatRequest
// @ts-expect-error: a slip, and no field of a provider's
request.temprature
// @ts-expect-error: a slip
new Trunkline({ routes: { fast: { select: ({ mesages }) => mesages[0] } } })

// The stand-in.
// @ts-expect-error: not a fault
upstream.fault({ kind: 'explode' })
// @ts-expect-error: no status
upstream.fault({ kind: 'status' })
// @ts-expect-error: not an answer
upstream.reply({}, { text: 'x' })
// @ts-expect-error: started, not made
new MockUpstream()

// That types of `openai` are looked at, and not taken for any.
// @ts-expect-error: no object of theirs
const theirs: OpenAI.Chat.Completions.ChatCompletion = { id: 5 }
// @ts-expect-error: no request of ours
const ours: ChatRequest = theirs

export { ours }

// Dashboards.
// @ts-expect-error: a number
line.dashboard({ port: '4400' })
// @ts-expect-error: of a handler alone
line.dashboard({ path: '/trunkline' })
// @ts-expect-error: a list
line.dashboardHandler({ hosts: 'ops.example.com' })

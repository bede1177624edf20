// A dashboard over lively traffic: three providers, some of it failing, a budget. It ends after a few seconds; with `--stay` it goes on until
// Ctrl+C, to be looked at.

import { setTimeout as sleep } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const stay = process.argv.includes('--stay')
const pace = stay ? 1 : 0.2

const first = await MockUpstream.start({
  tls: true,
  roundTrip: 24 * pace,
  latency: 260 * pace,
  tokensPerSecond: 160 / pace,
})
const second = await MockUpstream.start({
  tls: true,
  http2: false,
  roundTrip: 31 * pace,
  latency: 420 * pace,
  tokensPerSecond: 130 / pace,
})
const third = await MockUpstream.start({ latency: 60 * pace, tokensPerSecond: 400 / pace })
const usage = { prompt_tokens: 1850, completion_tokens: 240, total_tokens: 2090 }
for (const upstream of [first, second, third])
  upstream.reply({}, { content: 'A line that many calls share. '.repeat(5), usage })

const line = new Trunkline({
  providers: {
    openai: { baseURL: `${first.url}/v1`, apiKey: 'sk-first' },
    anthropic: { baseURL: second.url, apiKey: 'sk-second', protocol: 'anthropic' },
    local: { baseURL: `${third.url}/v1`, apiKey: 'sk-third' },
  },
  routes: {
    smart: [
      { provider: 'anthropic', model: 'claude-sonnet-4-5' },
      { provider: 'openai', model: 'gpt-4o' },
    ],
    fast: [{ provider: 'openai', model: 'gpt-4o-mini' }],
    classify: [
      { provider: 'local', model: 'llama-3.3-70b' },
      { provider: 'openai', model: 'gpt-4o-mini' },
    ],
  },
  pricing: {
    'claude-sonnet-4-5': { input: 3, cachedInput: 0.3, output: 15 },
    'gpt-4o': { input: 2.5, output: 10 },
    'gpt-4o-mini': { input: 0.15, output: 0.6 },
    'llama-3.3-70b': { input: 0.1, output: 0.3 },
  },
  budget: { limit: 25, window: 'day', perModel: { 'claude-sonnet-4-5': 16 }, alertAt: [0.8] },
  pool: { maxConnections: 6, tls: { ca: [first.ca, second.ca] } },
  rateLimit: { requestsPerMinute: 6000 },
  retry: { baseDelay: 60 * pace },
  circuitBreaker: { recoveryTimeout: 4000 * pace },
})

const dashboard = await line.dashboard({ port: stay ? 4400 : 0, ref: true })
console.log(`dashboard: ${dashboard.url}`)

let going = true
let calls = 0
let failures = 0

/** Somebody who asks again and again. */
async function user(model, priority, pause, stream) {
  while (going) {
    const request = { model, messages: [{ role: 'user', content: `Question ${++calls}` }], max_tokens: 400 }
    try {
      if (stream) await line.stream(request, { priority }).final()
      else await line.chat(request, { priority })
    } catch {
      failures++
    }
    await sleep(pause * pace * (0.5 + Math.random()))
  }
}

/** What goes wrong: now and then a server that fails, refuses or stops in the middle of an answer. */
async function weather() {
  const faults = [
    [third, { kind: 'status', status: 503 }, 5],
    [second, { kind: 'status', status: 529 }, 2],
    [first, { kind: 'cut', afterTokens: 4 }, 1],
    [first, { kind: 'status', status: 400 }, 1],
    [third, { kind: 'garbage' }, 2],
    [first, { kind: 'status', status: 404 }, 1],
    [second, { kind: 'reset', after: 'request' }, 2],
  ]
  for (let at = 0; going; at++) {
    const [upstream, fault, times] = faults[at % faults.length]
    upstream.fault(fault, { times })
    await sleep(3500 * pace)
  }
}

const users = [
  ...Array.from({ length: 5 }, () => user('smart', 'interactive', 900, true)),
  ...Array.from({ length: 6 }, () => user('fast', 'interactive', 700, true)),
  ...Array.from({ length: 8 }, () => user('classify', 'batch', 300, false)),
  ...Array.from({ length: 3 }, () => user('smart', 'background', 200, false)),
  user('fast', 'critical', 1500, false),
  weather(),
]

if (stay) await new Promise((resolve) => process.once('SIGINT', resolve))
else await sleep(3000)
going = false
await Promise.all(users)

// What the page is drawn from can be had as JSON, too.
const { metrics, costs, time, advice } = await (await fetch(`${dashboard.url}snapshot`)).json()
const slowest = time.toSorted((one, other) => other.mean - one.mean)[0]
console.log(`what did it cost: $${costs.today.total.toFixed(2)} today, for ${metrics.requests.started} calls`)
console.log(
  `why was it slow: ${slowest.name} took ${slowest.mean.toFixed(0)} ms, ${slowest.firstByte.toFixed(0)} ms of it until the first byte`,
)
console.log(`what would a larger pool change: ${advice.title}`)
console.log(`${failures} of ${calls} calls failed`)

await dashboard.close()
await line.close()
for (const upstream of [first, second, third]) await upstream.close()

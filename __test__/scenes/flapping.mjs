// Calls of all kinds, of two clients at once, against an upstream that flaps and limits; and what its log says of the promises.
//
// `own` has limits of its own and speaks HTTP/1.1, `told` knows of limits only what the answers tell it and speaks HTTP/2. The upstream
// allows less than both together ask for.

import { setTimeout as sleep } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { Broken, isNeverSent, mostAhead, rightClass, until } from './check.mjs'
import { random } from './random.mjs'
import { startUpstream } from './upstream.mjs'

const PRIORITIES = ['critical', 'interactive', 'batch', 'background']
const MODELS = ['steady', 'flaky', 'paced']
const PROMPTS = ['Hello', 'What is a trunk line?', 'Count to ten.', 'Tell me of the sea.']

const MAX_RETRIES = 2
const FREE_REPLAYS = 3
const MAX_CONNECTIONS = 64
const RECOVERY = 800
/** How long what was sent before may be on its way: a request before a refusal was heard of, an event before JavaScript had its turn. */
const ON_ITS_WAY = RECOVERY / 2
/** What the refusals of `paced` ask for, by no other refusal asked for. */
const PAUSES = [
  { headers: { 'retry-after-ms': '1237' }, wait: 1237 },
  { headers: { 'retry-after': '2' }, wait: 2000 },
]

/** What any request may meet, once or twice in turn. */
const SPRINKLED = [
  { fault: { kind: 'status', status: 503 } },
  { fault: { kind: 'status', status: 500 }, how: { times: 2 } },
  { fault: { kind: 'status', status: 429 } },
  { fault: { kind: 'status', status: 400 } },
  { fault: { kind: 'reset', after: 'accept' } },
  { fault: { kind: 'reset' }, how: { times: 2 } },
  { fault: { kind: 'reset', after: 'headers' } },
  { fault: { kind: 'reset', after: 3 } },
  { fault: { kind: 'silence', for: 10_000 } },
  { fault: { kind: 'stall', afterTokens: 3, for: 5000 } },
  { fault: { kind: 'slow', firstToken: 60 } },
  { fault: { kind: 'cut', afterTokens: 4 }, how: { times: 2 } },
  { fault: { kind: 'cut', afterTokens: 4, clean: true } },
  { fault: { kind: 'malformed', atEvent: 2 } },
  { fault: { kind: 'no-done' } },
  { fault: { kind: 'error-in-stream', afterTokens: 2, body: { error: { message: 'broken', type: 'server_error' } } } },
  { fault: { kind: 'goaway', lastStream: 'processed' } },
  { fault: { kind: 'goaway', lastStream: 'refused' } },
  { fault: { kind: 'close-idle' } },
  { fault: { kind: 'wrong-length', by: 7 } },
  { fault: { kind: 'garbage' } },
  ...PAUSES.map(({ headers }) => ({ fault: { kind: 'status', status: 429, headers }, how: { model: 'paced' } })),
]

/**
 * Resolves with `{ broken, figures }`: the promises that were broken, and what was seen.
 * @param {{ calls?: number, rate?: number, seed?: number }} [options] `rate`: what the upstream allows, in calls a second.
 */
export async function flapping({ calls = 50_000, rate = 1000, seed = 1 } = {}) {
  const upstream = await startUpstream({ latency: 4, seed, rateLimit: { requestsPerSecond: rate, burst: rate / 10 } })
  const broken = new Broken()
  const answers = await expected(upstream.url)
  const own = { requestsPerSecond: rate * 0.4, burst: rate / 25 }
  const parties = [
    new Party('own', upstream.url, { http2: 'never', rateLimit: own }, answers, broken),
    new Party('told', upstream.url, { http2: 'prior-knowledge' }, answers, broken),
  ]
  const began = Date.now()
  const memory = []
  const weather = makeWeather(upstream, seed)
  // Each offers a little more than its share, so that calls wait, but never a crowd that only the queue's limit ends.
  const offered = parties.map((party, at) => {
    return party.offer({ calls: calls / 2, perSecond: rate * (at === 0 ? 0.44 : 0.66), seed: seed + at, memory })
  })
  await Promise.all(offered)
  await weather.stop()
  await Promise.all(parties.map((party) => party.settled()))
  const ended = Date.now()

  const seconds = (ended - began) / 1000
  const log = (await upstream.log()).filter(({ user }) => user !== '')
  const figures = { calls, requests: log.length, seconds, memory: level(memory) }
  for (const party of parties) {
    await party.checkRest()
    figures[party.name] = party.check(log.filter(({ user }) => user.startsWith(`${party.name}-`)))
  }
  figures.own.ahead = mostAhead(times(log, 'own-'), { perSecond: own.requestsPerSecond, burst: own.burst })
  // The client counts what leaves, the log what arrives: a connect or a busy machine may hold a few up, and they come together.
  broken.check(figures.own.ahead <= 1000, () => `own: its rate was passed by ${figures.own.ahead} ms' worth of calls`)
  await Promise.all(parties.map((party) => party.close()))
  await upstream.close()
  return { broken: broken.list, figures }
}

const times = (log, prefix) => log.filter(({ user }) => user.startsWith(prefix)).map(({ at }) => at)

const requestOf = (prompt, more) => ({ messages: [{ role: 'user', content: PROMPTS[prompt] }], ...more })

/** What the upstream says to each prompt, before anything goes wrong. */
async function expected(url) {
  const line = new Trunkline({ baseURL: `${url}/v1`, apiKey: 'k', pool: { maxConnections: 2 } })
  const answers = []
  for (let prompt = 0; prompt < PROMPTS.length; prompt++) {
    const { choices } = await line.chat(requestOf(prompt, { model: 'steady' }))
    answers.push(choices[0].message.content)
  }
  await line.close()
  return answers
}

/** Faults now and then, `flaky` out for a while again and again, and once in a while everything. */
function makeWeather(upstream, seed) {
  let stopped = false
  const turns = async () => {
    await upstream.flap({ every: 30, faults: SPRINKLED, seed })
    const down = { kind: 'status', status: 503 }
    for (let turn = 0; !stopped; turn++) {
      await sleep(500)
      await upstream.fault(down, turn % 4 === 1 ? { for: 2000 } : { for: 2000, model: 'flaky' })
      for (let rest = 0; rest < 45 && !stopped; rest++) await sleep(100)
    }
    await upstream.calm()
  }
  const ended = turns()
  return {
    stop: () => {
      stopped = true
      return ended
    },
  }
}

/** One client, what it was asked, and what came of it. */
class Party {
  outcomes = new Map()
  ends
  events = { retry: [], circuit: [] }
  begun = []
  refusals = []
  warnings = 0

  constructor(name, url, { http2, rateLimit }, answers, broken) {
    this.name = name
    this.answers = answers
    this.broken = broken
    this.line = new Trunkline({
      baseURL: `${url}/v1`,
      apiKey: 'k',
      concurrency: { max: MAX_CONNECTIONS, maxQueue: 1000 },
      rateLimit,
      retry: { maxRetries: MAX_RETRIES, baseDelay: 40, maxDelay: 400 },
      circuitBreaker: { recoveryTimeout: RECOVERY, window: 4000 },
      timeouts: { queue: 5000, firstByte: 700, idle: 700, total: 3000 },
      pool: { maxConnections: MAX_CONNECTIONS, maxIdleConnections: MAX_CONNECTIONS / 2, http2 },
    })
    for (const event of ['retry', 'circuit']) {
      this.line.on(event, (what) => this.events[event].push({ ...what, seen: Date.now() }))
    }
    this.lost = (warning) => (this.warnings += warning.code === 'TRUNKLINE_EVENTS_LOST' ? 1 : 0)
    process.on('warning', this.lost)
  }

  async offer({ calls, perSecond, seed, memory }) {
    this.calls = calls
    this.ends = new Uint8Array(calls)
    this.left = calls
    this.all = new Promise((resolve) => (this.done = resolve))
    const next = random(seed)
    const start = performance.now()
    for (let made = 0; made < calls; ) {
      const due = Math.min(calls, ((performance.now() - start) * perSecond) / 1000)
      for (; made < due; made++) this.begin(made, next)
      if (made >= ((memory.length + 1) * calls) / 10) memory.push(sample())
      await sleep(5)
    }
  }

  settled() {
    return this.all
  }

  begin(number, next) {
    const [kind, of, leaves] = [next(), next(), next()]
    const model = MODELS[of < 0.5 ? 0 : of < 0.8 ? 1 : 2]
    const prompt = number % PROMPTS.length
    const request = requestOf(prompt, { model, user: `${this.name}-${number}` })
    const options = { priority: PRIORITIES[number % 4] }
    // Refused once, it fails, and says by its error what the refusal asked for.
    if (model === 'paced') options.retry = { maxRetries: 0 }
    let reason
    if (leaves < 0.04) {
      const caller = new AbortController()
      reason = new Error('the caller has left')
      options.signal = caller.signal
      setTimeout(() => caller.abort(reason), leaves * 1000)
    }
    this.begun.push(Date.now())
    const call = kind < 0.7 ? this.whole(request, options) : this.streamed(request, options, kind < 0.8)
    call.then(
      ({ text, meta }) => this.ended(number, { text, prompt, attempts: meta.attempts }),
      (error) => this.ended(number, { error, reason, attempts: error?.attempts }),
    )
  }

  async whole(request, options) {
    const { data, meta } = await this.line.chat(request, options).withMeta()
    return { text: data.choices[0].message.content, meta }
  }

  async streamed(request, options, isFinal) {
    const stream = this.line.stream(request, options)
    let text = ''
    if (isFinal) text = await stream.finalText()
    else for await (const piece of stream.text()) text += piece
    return { text, meta: await stream.meta }
  }

  ended(number, { text, prompt, error, reason, attempts }) {
    const { broken, name } = this
    broken.check(this.ends[number]++ === 0, () => `${name}-${number} has settled twice`)
    let outcome = 'ok'
    if (error === undefined) {
      broken.check(text === this.answers[prompt], () => `${name}-${number}: a success that is not the answer: ${text}`)
    } else {
      outcome = error === reason ? 'aborted' : error.name
      if (outcome !== 'aborted') {
        broken.check(rightClass(error), () => `${name}-${number}: ${error.name} of ${JSON.stringify(error.attempts)}`)
        if (PAUSES.some(({ wait }) => wait === error.retryAfter) && outcome === 'RateLimitError') {
          this.refusals.push({ user: `${name}-${number}`, wait: error.retryAfter })
        }
      }
    }
    // Most go well at once, and are not remembered one by one.
    if (outcome !== 'ok' || attempts.length !== 1) this.outcomes.set(number, { outcome, attempts })
    if (--this.left === 0) this.done()
  }

  /** After the last call nothing is left of any. */
  async checkRest() {
    const { line, broken, name } = this
    const { requests, queue, pool } = line.metrics()
    const waiting = Object.values(queue.depth).reduce((sum, depth) => sum + depth)
    broken.check(
      requests.inFlight === 0,
      () => `${name}: ${requests.inFlight} calls in flight after the last had ended`,
    )
    broken.check(waiting === 0, () => `${name}: ${waiting} calls wait after the last had ended`)
    broken.check(pool.connections.peak <= MAX_CONNECTIONS, () => `${name}: ${pool.connections.peak} sockets`)
    const count = requests.succeeded + requests.failed + requests.aborted
    broken.check(requests.started === count, () => `${name}: ${requests.started} begun, ${count} ended`)
    const rests = () => line.metrics().pool.connections.active === 0
    broken.check(await until(rests), () => `${name}: sockets are held by nobody's calls`)
    const { idle } = line.metrics().pool.connections
    broken.check(idle <= MAX_CONNECTIONS / 2, () => `${name}: ${idle} sockets rest`)
  }

  async close() {
    process.off('warning', this.lost)
    await this.line.close()
  }

  check(log) {
    const byOutcome = { ok: this.calls - this.outcomes.size }
    for (const { outcome } of this.outcomes.values()) byOutcome[outcome] = (byOutcome[outcome] ?? 0) + 1
    const { requests } = this.line.metrics()
    return {
      outcomes: byOutcome,
      requests: log.length,
      retried: requests.retried,
      attempts: this.checkAttempts(log),
      budget: this.checkBudget(),
      circuits: this.checkCircuits(log),
      pauses: this.checkPauses(log),
    }
  }

  /** What the client says it has sent is what the upstream has seen. */
  checkAttempts(log) {
    const { broken, name } = this
    const seen = new Map()
    for (const { user } of log) seen.set(user, (seen.get(user) ?? 0) + 1)
    const sums = { most: 0, told: 0, unsure: 0, neverSent: 0 }
    for (let number = 0; number < this.calls; number++) {
      const arrived = seen.get(`${name}-${number}`) ?? 0
      const { outcome = 'ok', attempts } = this.outcomes.get(number) ?? {}
      if (outcome === 'aborted') {
        broken.check(arrived <= 1 + MAX_RETRIES + FREE_REPLAYS, () => `${name}-${number} was sent ${arrived} times`)
        sums.unsure += arrived
        continue
      }
      const all = attempts?.length ?? 1
      sums.most = Math.max(sums.most, all)
      sums.told += all
      broken.check(all <= 1 + MAX_RETRIES + FREE_REPLAYS, () => `${name}-${number}: ${all} attempts`)
      const neverSent = attempts?.filter(isNeverSent).length ?? 0
      sums.neverSent += neverSent
      // What was answered was seen; what broke off may have broken before it was.
      const surely = attempts?.filter(({ status }) => status !== null).length ?? 1
      const right = surely <= arrived && arrived <= all - neverSent
      broken.check(right, () => `${name}-${number}: seen ${arrived} times, told of ${JSON.stringify(attempts)}`)
    }
    return sums
  }

  /** Whatever 10 s one takes, retries are a share of the calls of that time, and so many a second. */
  checkBudget() {
    const { broken, name, begun } = this
    // Told of even where nothing was counted: what certainly was not processed is sent again for nothing.
    const counted = this.events.retry.filter(({ attempt, delay }) => !(delay === 0 && attempt.billed === 'no'))
    const [ratio, perSecond, life, lag] = [0.2, 10, 10_000, 1000]
    let most = 0
    let [from, first, last] = [0, 0, 0]
    for (const [at, { seen }] of counted.entries()) {
      while (counted[from].seen <= seen - life) from++
      while (begun[first] <= seen - life - lag) first++
      while (begun[last] <= seen) last++
      const allowed = ratio * (last - first) + (perSecond * life) / 1000
      most = Math.max(most, (at - from + 1) / allowed)
    }
    if (this.warnings === 0) broken.check(most <= 1, () => `${name}: retries were ${most} × their budget`)
    return { retries: counted.length, free: this.events.retry.length - counted.length, most }
  }

  /** While a circuit is open nothing is sent, and then one probe for each recovery time. */
  checkCircuits(log) {
    const figures = { opened: 0, probes: 0, outages: 0 }
    const ofProvider = this.spells(null)
    const ofModel = this.spells('flaky')
    figures.opened = ofProvider.length + ofModel.length
    for (const spell of ofProvider) this.checkSpell(spell, log, figures)
    const flaky = log.filter(({ model }) => model === 'flaky')
    for (const spell of ofModel) {
      // A probe of the provider's may be of this model, whatever its own circuit says.
      const meets = ofProvider.some(({ from, to }) => from - RECOVERY < spell.to && spell.from < to + RECOVERY)
      if (!meets) this.checkSpell(spell, flaky, figures)
    }
    return figures
  }

  /** From each opening to the closing after it, as JavaScript heard of them. */
  spells(model) {
    const spells = []
    let spell
    for (const { model: of, state, seen } of this.events.circuit) {
      if (of !== model) continue
      if (state === 'open' && spell === undefined) spell = { from: seen, to: Number.POSITIVE_INFINITY, probed: [] }
      else if (state === 'half-open' && spell !== undefined) spell.probed.push(seen)
      else if (state === 'closed' && spell !== undefined) {
        spells.push({ ...spell, to: seen })
        spell = undefined
      }
    }
    if (spell !== undefined) spells.push(spell)
    return spells
  }

  checkSpell({ from, to, probed }, log, figures) {
    const { broken, name } = this
    figures.outages += 1
    const sent = log.filter(({ at }) => at > from + ON_ITS_WAY && at < to + RECOVERY)
    const early = sent.filter(({ at }) => at < from - ON_ITS_WAY / 4 + RECOVERY)
    broken.check(early.length === 0, () => `${name}: ${early.length} requests while a circuit was open`)
    // One that is aborted gives its place to the next call, which is a probe as well.
    const given = ({ user }) => this.outcomes.get(Number(user.slice(name.length + 1)))?.outcome === 'aborted'
    const probes = sent.slice(0, probed.length)
    figures.probes += probes.length
    for (let at = 1; at < probes.length; at++) {
      const gap = probes[at].at - probes[at - 1].at
      const fits = gap >= RECOVERY - 2 || probes.slice(0, at).some(given)
      broken.check(fits, () => `${name}: two probes within ${gap} ms`)
    }
  }

  /** After a refusal that names a time nothing is sent to its model before that, but what was on its way. */
  checkPauses(log) {
    const { broken, name } = this
    const paced = log.filter(({ model }) => model === 'paced')
    const figures = { refusals: this.refusals.length, latest: 0 }
    for (const { user, wait } of this.refusals) {
      const refused = paced.findLast((request) => request.user === user)
      const within = paced.filter(({ at }) => at > refused.at && at < refused.at + wait)
      const latest = (within.at(-1)?.at ?? refused.at) - refused.at
      figures.latest = Math.max(figures.latest, latest)
      broken.check(latest < ON_ITS_WAY, () => `${name}: sent ${latest} ms after a Retry-After of ${wait} ms`)
    }
    return figures
  }
}

function sample() {
  globalThis.gc?.()
  const { rss, heapUsed } = process.memoryUsage()
  return { rss, heapUsed }
}

/** Megabytes at the half and at the end of the calls. */
function level(memory) {
  const at = (share) => memory[Math.min(memory.length - 1, Math.floor(memory.length * share))]
  const megabytes = (bytes) => Math.round(bytes / 1e5) / 10
  const [half, end] = [at(0.5), at(1)]
  return {
    rss: [half, end].map(({ rss }) => megabytes(rss)),
    heap: [half, end].map(({ heapUsed }) => megabytes(heapUsed)),
  }
}

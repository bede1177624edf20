'use strict'

/** `trunkline doctor`: what lies between here and a provider, step by step, and what follows for the pool. */

const { isIP } = require('node:net')
const advice = require('./advice.js')
const { UsageError } = require('./args.js')
const { poolCode } = require('./code.js')
const { certificatesOf } = require('./files.js')
const { Findings } = require('./findings.js')
const { credentials, hostOf, modelsPath, portOf, urlOf } = require('./place.js')
const probe = require('./probe.js')
const { proxyFor, shownProxy } = require('./proxy.js')
const { many, plain, time } = require('./screen.js')
const { settingsFor } = require('./settings.js')
const { LOAD, loadOf } = require('./size.js')

const TIMEOUT = 10_000

const command = {
  name: 'doctor',
  summary: 'what lies between here and a provider, and what settings of the pool follow from it',
  usage: ['doctor URL [options]'],
  about:
    'Looks at addresses, connections, TLS, HTTP and the pool itself, one after the other, and says what to do where something is wrong. URL is a base URL (https://api.openai.com/v1); a few GETs go there, which no provider bills.',
  positionals: /** @type {[number, number]} */ ([1, 1]),
  options: /** @type {Record<string, import('./args.js').Option>} */ ({
    'key-env': {
      type: 'text',
      value: 'NAME',
      about: 'the environment variable that has the key: whether it is taken is looked at too',
    },
    h1: { type: 'flag', about: 'HTTP/1.1 alone' },
    h2: { type: 'flag', about: 'HTTP/2 alone; over http:// by prior knowledge' },
    ca: { type: 'text', value: 'FILE', about: 'certificates to trust, in PEM' },
    'keep-alive-wait': {
      type: 'number',
      value: 'SECONDS',
      most: 3600,
      about: 'looks on that long whether the server closes a connection that rests. Default 0',
    },
    timeout: { type: 'number', value: 'MS', least: 1, about: `of each step. Default ${TIMEOUT}` },
    ...LOAD,
  }),
  examples: /** @type {[string, string][]} */ ([
    ['doctor https://api.openai.com/v1', 'the usual'],
    ['doctor https://api.openai.com/v1 --key-env OPENAI_API_KEY', 'and whether the key is good'],
    ['doctor https://llm.internal/v1 --ca company.pem --keep-alive-wait 60', 'a relay of your own'],
    [
      'doctor https://api.openai.com/v1 --peak 50 --response-time 2000 --interval 4000',
      'with the number of connections that a load needs',
    ],
  ]),
  exits: 'something is wrong; what, and what to do, is told',
}

/** @param {any} context */
async function run({ values, positionals, screen }) {
  const url = urlOf(positionals[0], 'doctor')
  const visit = new Visit(url, values, screen)
  const data = await visit.all()
  return { ok: data.ok, data }
}

class Visit extends Findings {
  /** @type {any} */
  steps = {}

  /** @param {URL} url @param {Record<string, any>} values @param {import('./screen.js').Terminal} screen */
  constructor(url, values, screen) {
    super(screen)
    this.url = url
    this.values = values
    this.load = loadOf(values, 'doctor')
    if (values.h1 && values.h2)
      throw Object.assign(new UsageError('--h1 and --h2: give one of them'), { command: 'doctor' })
    this.key = credentials(values['key-env'], url, 'doctor')
    this.ca = certificatesOf(values.ca)
    this.timeout = values.timeout ?? TIMEOUT
    this.isTls = url.protocol === 'https:'
    this.proxy = proxyFor(url, process.env)
    this.http2 = values.h1 ? 'never' : values.h2 ? 'prior-knowledge' : 'auto'
  }

  async all() {
    const { screen, url } = this
    screen.say(`${screen.title('Doctor')} of ${screen.paint('cyan', url.href)}`)
    screen.say()
    this.tellOfProxy()
    const socket = await this.reach()
    const secured = socket && this.isTls ? await this.handshake(socket) : socket
    if (secured) await this.ask(secured)
    await this.throughThePool()
    const settings = settingsFor(this)
    const data = {
      url: url.href,
      ok: this.problems.length === 0,
      proxy: this.proxy ? shownProxy(this.proxy.url) : null,
      steps: this.steps,
      problems: this.problems,
      notes: this.notes,
      settings: settings.pool,
      warmup: settings.warmup,
    }
    this.tellTheEnd(settings)
    return data
  }

  tellOfProxy() {
    if (!this.proxy) return
    const { url, from } = this.proxy
    this.tell('proxy', 'ok', [`${shownProxy(url)}, by ${from}`])
    if (url.protocol !== 'http:' || !this.isTls) {
      this.note('proxy', 'what lies behind it is looked at through the pool alone.')
      this.isHidden = true
    }
  }

  /** Addresses and connections, of the server or of the proxy before it. */
  async reach() {
    const place = this.proxy?.url ?? this.url
    const host = hostOf(place)
    const addresses = await this.resolve(host)
    if (!addresses) return undefined
    const port = this.proxy && !place.port ? (place.protocol.startsWith('socks') ? 1080 : portOf(place)) : portOf(place)
    const tried = await Promise.all(addresses.map((address) => probe.connect(address, port, this.timeout)))
    this.steps.connect = tried.map(({ address, family, ms, code }) => ({
      address,
      port,
      family,
      ms,
      error: code ?? null,
    }))
    const good = tried.filter(({ socket }) => socket)
    const bad = tried.filter(({ socket }) => !socket)
    const fastest = good.sort((one, other) => one.ms - other.ms)[0]
    const failures = bad.map(({ address, code }) => `${address}: ${code}`)
    for (const other of good.slice(1)) other.socket?.destroy()
    if (!fastest) {
      this.problem('connect', advice.ofConnect(bad[0].code ?? '', host, port, Boolean(this.proxy)), failures)
      return undefined
    }
    this.tell('connect', 'ok', [
      `${time(fastest.ms)} to ${fastest.address}, port ${port}`,
      ...(good.length > 1 ? [`${good.length} of ${tried.length} addresses answer`] : []),
      ...failures,
    ])
    if (bad.length > 0) {
      const family =
        bad.every((one) => one.family === bad[0].family) && good.every((one) => one.family !== bad[0].family)
      this.note(
        'connect',
        family
          ? `no IPv${bad[0].family} address can be connected to from here; the pool goes on with the others at once.`
          : `${many(bad.length, 'address')} of ${tried.length} cannot be connected to; the pool goes on with the others.`,
      )
    }
    const socket = /** @type {import('node:net').Socket} */ (fastest.socket)
    this.dial = () => this.tunnelled(fastest, port)
    if (this.isHidden) {
      socket.destroy()
      return undefined
    }
    if (!this.proxy) return socket
    return await this.through(socket)
  }

  /** Another connection to the same address. @param {any} tried @param {number} port @returns {Promise<import('node:net').Socket | undefined>} */
  async tunnelled(tried, port) {
    const { socket } = await probe.connect(tried, port, this.timeout)
    if (!socket || !this.proxy) return socket
    await probe.tunnel(socket, this.url, this.proxy.url, this.timeout)
    return socket
  }

  /** @param {import('node:net').Socket} socket */
  async through(socket) {
    try {
      await probe.tunnel(socket, this.url, /** @type {any} */ (this.proxy).url, this.timeout)
      return socket
    } catch (/** @type {any} */ error) {
      socket.destroy()
      this.problem('proxy', advice.ofProxy(error))
      return undefined
    }
  }

  /** @param {string} host @returns {Promise<{ address: string, family: number }[] | undefined>} */
  async resolve(host) {
    const family = isIP(host)
    if (family) {
      this.steps.dns = null
      return [{ address: host, family }]
    }
    try {
      const { addresses, ms } = await probe.resolve(host, this.timeout)
      this.steps.dns = { host, ms, addresses }
      this.tell('address', 'ok', [
        `${many(addresses.length, 'address')} of ${host} in ${time(ms)}`,
        addresses.map((/** @type {any} */ { address }) => address).join(', '),
      ])
      return addresses.slice(0, 8)
    } catch (/** @type {any} */ error) {
      this.steps.dns = { host, error: error.code }
      this.problem('address', advice.ofName(error.code, host))
      return undefined
    }
  }

  /** @param {import('node:net').Socket} socket */
  async handshake(socket) {
    const protocols = this.values.h1 ? ['http/1.1'] : this.values.h2 ? ['h2'] : ['h2', 'http/1.1']
    const options = { host: hostOf(this.url), ca: this.ca, protocols, timeout: this.timeout }
    let first
    try {
      first = await probe.secure(socket, options)
    } catch (/** @type {any} */ error) {
      socket.destroy()
      this.steps.tls = { error: error.code }
      const speaksPlain = await this.speaksPlainHttp()
      this.problem('tls', speaksPlain ? advice.PLAIN_AT_TLS : advice.ofHandshake(error, this.values))
      return undefined
    }
    const again = await this.again(first, options)
    const { certificate } = first
    this.steps.tls = {
      version: first.version,
      cipher: first.cipher,
      alpn: first.alpn,
      ms: first.ms,
      resumed: again?.isResumed ?? null,
      resumedMs: again?.isResumed ? again.ms : null,
      certificate,
      trusted: first.error === null,
      error: first.error,
    }
    const more =
      again === undefined
        ? 'whether a second one is resumed could not be seen'
        : again.isResumed
          ? `a second one is resumed, in ${time(again.ms)}`
          : 'a second one is not resumed'
    const lines = [
      `${plain(first.version)}, ${plain(first.cipher)}, a handshake in ${time(first.ms)}; ${more}`,
      ...(certificate
        ? [
            `certificate of ${plain(certificate.subject, 80)} by ${plain(certificate.issuer, 80)}, ${validity(certificate)}`,
          ]
        : []),
      `ALPN: ${first.alpn ?? 'none, so HTTP/1.1'}`,
    ]
    if (first.error !== null) {
      this.problem('tls', advice.ofCertificate(first.error, certificate, this.url.hostname), lines)
    } else {
      this.tell('tls', 'ok', lines)
      if (certificate && certificate.daysLeft < 14)
        this.note('tls', `the certificate ends in ${many(certificate.daysLeft, 'day')}.`)
    }
    return first.socket
  }

  /** A second handshake with the session of the first. @param {any} first @param {any} options */
  async again(first, options) {
    try {
      const session = await first.session()
      if (!session || !this.dial) return undefined
      const socket = await this.dial()
      if (!socket) return undefined
      try {
        const second = await probe.secure(socket, { ...options, session })
        second.socket.destroy()
        return second
      } finally {
        socket.destroy()
      }
    } catch {
      return undefined
    }
  }

  async speaksPlainHttp() {
    const socket = await this.dial?.().catch(() => undefined)
    return socket ? await probe.answersPlainHttp(socket, this.url, this.timeout) : false
  }

  async speaksTls() {
    const socket = await this.dial?.().catch(() => undefined)
    if (!socket) return false
    try {
      const { socket: secured } = await probe.secure(socket, {
        host: hostOf(this.url),
        protocols: ['http/1.1'],
        timeout: this.timeout,
      })
      secured.destroy()
      return true
    } catch {
      return false
    } finally {
      socket.destroy()
    }
  }

  /** @param {any} socket */
  async ask(socket) {
    const isH2 = this.isTls ? socket.alpnProtocol === 'h2' : Boolean(this.values.h2)
    // A key is shown to nobody who is not who they say.
    const key = this.steps.tls?.error ? {} : this.key
    const hasKey = Object.keys(key).length > 0
    const path = hasKey ? `${this.url.pathname.replace(/\/$/, '')}${modelsPath(this.url)}` : this.url.pathname
    const talk = isH2 ? probe.talkH2 : probe.talkH1
    /** @type {any} */
    let seen
    try {
      seen = await talk(socket, this.url, { path, headers: key, timeout: this.timeout })
    } catch (/** @type {any} */ error) {
      socket.destroy()
      this.steps.http = { error: error.code ?? error.message }
      const isTlsPort = !this.isTls && (await this.speaksTls())
      this.problem('http', isTlsPort ? advice.TLS_AT_PLAIN : advice.ofHttp(error, isH2))
      return
    }
    const { rest, ...http } = seen
    this.steps.http = http
    const streams = http.maxConcurrentStreams
    const kept = http.keepAlive
    const how = isH2
      ? `HTTP/2, ${streams === null ? 'any number of streams' : many(streams ?? 0, 'stream')} at a time on a connection`
      : `HTTP/1.1, ${kept.closes ? 'the connection is closed after each answer' : !kept.timeout ? 'no word on how long a connection may rest' : `a connection may rest for ${kept.timeout} s`}${kept.max ? `, for ${many(kept.max, 'request')}` : ''}`
    const lines = [
      `${how}; ${isH2 ? 'round trip' : 'an answer takes'} ${time(http.roundTrip)}`,
      `GET ${plain(path, 100)}: ${http.status}${http.contentType ? `, ${plain(http.contentType, 60)}` : ''}`,
    ]
    const found = advice.ofAnswer(http, this.url, hasKey)
    if (found) this.problem('http', found, lines)
    else this.tell('http', 'ok', lines)
    if (kept?.closes)
      this.note(
        'http',
        'no connection can be used again: each call pays for one of its own. Something on the way (a proxy, a balancer) may be set to do so.',
      )
    if (http.skew !== null && Math.abs(http.skew) > 60_000)
      this.note(
        'http',
        `this machine's clock is ${time(Math.abs(http.skew))} ${http.skew > 0 ? 'behind' : 'ahead of'} the server's.`,
      )
    await this.watch(rest)
  }

  /** How long a connection that rests is kept. @param {any} rest */
  async watch(rest) {
    const wait = (this.values['keep-alive-wait'] ?? 0) * 1000
    if (wait === 0) {
      rest.end()
      this.tell('rest', 'none', ['how long a connection may rest is not looked at: --keep-alive-wait SECONDS'])
      return
    }
    const closedAfter = await rest.closed(wait)
    rest.end()
    this.steps.rest = { waited: closedAfter ?? wait, closedAfter }
    this.tell('rest', 'ok', [
      closedAfter === null
        ? `still open after ${time(wait)} of rest`
        : `the server closes a connection that has rested for ${time(closedAfter)}`,
    ])
  }

  /** The same by the package itself, with all that it makes of the environment. */
  async throughThePool() {
    const seen = await probe.pool(this.url, { ca: this.ca, http2: this.http2, timeout: this.timeout })
    this.steps.pool = seen
    if (seen.error) {
      const isNews = this.problems.length === 0
      if (isNews) this.problem('pool', advice.ofPool(seen))
      else this.tell('pool', 'bad', [plain(seen.error.message, 400)])
      return
    }
    this.tell('pool', 'ok', [
      `answered ${seen.status} over ${seen.protocol === 'h2' ? 'HTTP/2' : 'HTTP/1.1'} in ${time(seen.ms)}, of which ${time(seen.handshake ?? 0)} to connect; again in ${time(seen.again ?? 0)}`,
    ])
  }

  /** @param {any} settings */
  tellTheEnd({ rows, warmup, isKnown }) {
    const { screen } = this
    screen.say()
    if (isKnown) {
      screen.say(screen.title('What follows for the pool'))
      screen.say()
      if (this.values.ca) screen.say("const { readFileSync } = require('node:fs')")
      const baseURL = this.url.href.replace(/\/$/, '')
      for (const line of poolCode(rows, { baseURL, width: screen.width })) screen.say(line)
      if (warmup) screen.say(`await line.warmup({ connections: ${warmup.connections} }) // ${warmup.why}`)
      screen.say()
      if (rows.length === 0) screen.say('The defaults of the pool suit what was seen.')
      if (!this.load)
        screen.say(
          screen.wrap(
            'How many connections a load needs: --peak, --response-time and --interval here, or trunkline size.',
          ),
        )
      if (rows.length === 0 || !this.load) screen.say()
    }
    const { length } = this.problems
    if (!isKnown) screen.say('What follows for the pool is told once it comes through.\n')
    screen.say(
      length === 0
        ? `${screen.paint('green', '✓')} All is well.`
        : `${screen.paint('red', '✗')} ${many(length, 'problem')}.`,
    )
  }
}

/** @param {{ daysLeft: number, validTo: string }} certificate */
function validity({ daysLeft, validTo }) {
  if (daysLeft < 0) return 'expired'
  return daysLeft > 3650 ? `until ${validTo.slice(0, 4).replace('+', '')}` : `${many(daysLeft, 'day')} left`
}

module.exports = { command, run }

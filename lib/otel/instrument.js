'use strict'

/** OpenTelemetry, on what the diagnostics channels tell: spans and metrics through the user's own `@opentelemetry/api`. */

const { channel } = require('node:diagnostics_channel')
const { Trunkline } = require('../client.js')
const { classes, configError } = require('../errors.js')
const { kindOf } = require('../encode.js')
const { nearest, only } = require('../options.js')
const { version } = require('../../package.json')
const { askedOf, beginningOf, endOf, firstChunkOf, operationOf } = require('./attributes.js')
const { inputOf, outputOf } = require('./content.js')

const api = apiOf()
const { SpanKind, SpanStatusCode, context, propagation, trace } = api

/** Boundaries that the conventions give. */
const SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const TOKENS = Array.from({ length: 14 }, (_, n) => 4 ** n)

/** By their clients, which are to be collected all the same. @type {WeakMap<object, Instrumentation>} */
const instrumented = new WeakMap()
let count = 0
const collected = new FinalizationRegistry(() => left())

const channels = {
  start: channel('trunkline:request:start'),
  end: channel('trunkline:request:end'),
  // That somebody hears of attempts; what they were is in the message at its end.
  attempt: channel('trunkline:request:attemptEnd'),
}

/**
 * Spans and metrics of a client's calls from now on. Returns what ends it.
 * @param {any} line @param {any} [options] @returns {() => void}
 */
function instrument(line, options = {}) {
  if (!(line instanceof Trunkline)) throw configError(`instrument: must be given a Trunkline, got ${kindOf(line)}`)
  if (instrumented.has(line))
    throw configError('instrument: the client is instrumented already, and each call would be there twice')
  instrumented.set(line, new Instrumentation(options, line.providerNames))
  const token = {}
  collected.register(line, undefined, token)
  if (++count === 1) {
    channels.start.subscribe(started)
    channels.end.subscribe(ended)
    channels.attempt.subscribe(nothing)
  }
  const kept = new WeakRef(line)
  return () => {
    const line = kept.deref()
    if (line === undefined || !instrumented.delete(line)) return
    collected.unregister(token)
    left()
  }
}

function left() {
  if (--count > 0) return
  channels.start.unsubscribe(started)
  channels.end.unsubscribe(ended)
  channels.attempt.unsubscribe(nothing)
}

/** @param {any} message */
function started(message) {
  instrumented.get(message.client)?.started(message)
}

/** @param {any} message */
function ended(message) {
  instrumented.get(message.client)?.ended(message)
}

function nothing() {}

class Instrumentation {
  #tracer
  #duration
  #tokens
  #firstChunk
  #capturesContent
  #propagates
  /** @type {Record<string, string>} */
  #providers
  /** @type {WeakMap<object, import('@opentelemetry/api').Span>} */
  #spans = new WeakMap()

  /** @param {any} options @param {string[]} known the client's providers */
  constructor(options, known) {
    const names = ['tracerProvider', 'meterProvider', 'captureContent', 'propagate', 'providers']
    const {
      tracerProvider = trace,
      meterProvider = api.metrics,
      captureContent = false,
      propagate = true,
      providers = {},
    } = only(options, names)
    for (const [name, value, method] of [
      ['tracerProvider', tracerProvider, 'getTracer'],
      ['meterProvider', meterProvider, 'getMeter'],
    ]) {
      if (typeof value?.[method] !== 'function')
        throw configError(`${name}: must have a method ${method}, got ${kindOf(value)}`)
    }
    for (const [name, value] of Object.entries({ captureContent, propagate })) {
      if (typeof value !== 'boolean') throw configError(`${name}: must be a boolean, got ${kindOf(value)}`)
    }
    for (const [name, value] of Object.entries(only(providers, Object.keys(Object(providers)), 'providers'))) {
      if (typeof value !== 'string') throw configError(`providers.${name}: must be a string, got ${kindOf(value)}`)
      if (!known.includes(name)) {
        const near = nearest(name, known)
        const next = near === undefined ? '' : `; did you mean ${near}?`
        throw configError(`providers.${name}: is no provider of the client; there are ${known.join(', ')}${next}`)
      }
    }
    this.#capturesContent = captureContent
    this.#propagates = propagate
    this.#providers = providers
    this.#tracer = /** @type {import('@opentelemetry/api').Tracer} */ (tracerProvider.getTracer('trunkline', version))
    const meter = /** @type {import('@opentelemetry/api').Meter} */ (meterProvider.getMeter('trunkline', version))
    this.#duration = histogram(meter, 'gen_ai.client.operation.duration', 's', 'GenAI operation duration.', SECONDS)
    this.#tokens = histogram(
      meter,
      'gen_ai.client.token.usage',
      '{token}',
      'Number of input and output tokens used.',
      TOKENS,
    )
    const first = 'Time to receive the first chunk.'
    this.#firstChunk = histogram(meter, 'gen_ai.client.operation.time_to_first_chunk', 's', first, SECONDS)
  }

  /** In the context of the caller, whose span is the parent. @param {any} message */
  started(message) {
    const { name, attributes } = beginningOf(message)
    const parent = context.active()
    const span = this.#tracer.startSpan(
      name,
      { kind: SpanKind.CLIENT, startTime: message.startTime, attributes },
      parent,
    )
    this.#spans.set(message, span)
    if (this.#propagates) {
      propagation.inject(trace.setSpan(parent, span), message, {
        set: (to, name, value) => to.addHeader(name, value),
      })
    }
  }

  /** @param {any} message */
  ended(message) {
    const asked = askedOf(message, this.#providers)
    const end = endOf(message)
    const total = performance.timeOrigin + performance.now() - message.startTime
    this.#measure(message, asked, end, total)
    const span = this.#spans.get(message)
    if (span === undefined) return
    this.#spans.delete(message)
    if (span.isRecording()) {
      span.setAttributes({ ...asked, ...end })
      if (this.#capturesContent && operationOf(message) === 'chat') {
        span.setAttributes({
          'gen_ai.input.messages': inputOf(message.request),
          'gen_ai.output.messages': outputOf(message.result),
        })
      }
      for (const attempt of message.attempts) addEvents(span, message.startTime, attempt)
      // Ours hold nothing of what was said.
      if (message.error !== undefined) {
        const { error } = message
        const isOurs = error instanceof classes.TrunklineError
        span.setStatus({ code: SpanStatusCode.ERROR, ...(isOurs && { message: error.message }) })
      }
    }
    span.end(message.startTime + total)
  }

  /** @param {any} message @param {Record<string, any>} asked @param {Record<string, any>} end @param {number} total */
  #measure(message, asked, end, total) {
    const operation = operationOf(message)
    if (operation === undefined) return
    /** @type {Record<string, any>} */
    const common = { 'gen_ai.operation.name': operation, ...asked }
    if (message.model !== null) common['gen_ai.request.model'] = message.model
    for (const name of ['gen_ai.response.model']) if (name in end) common[name] = end[name]
    const failed = 'error.type' in end ? { 'error.type': end['error.type'] } : {}
    this.#duration.record(total / 1000, { ...common, ...failed })
    if (asked['gen_ai.provider.name'] === undefined) return
    for (const type of ['input', 'output']) {
      const tokens = end[`gen_ai.usage.${type}_tokens`]
      // An embedding has no output.
      if (tokens !== undefined && (operation === 'chat' || tokens > 0))
        this.#tokens.record(tokens, { ...common, 'gen_ai.token.type': type })
    }
    const first = message.stream ? firstChunkOf(message) : undefined
    if (first !== undefined) this.#firstChunk.record(first, common)
  }
}

/** @param {import('@opentelemetry/api').Meter} meter @param {string} name @param {string} unit @param {string} description @param {number[]} boundaries */
function histogram(meter, name, unit, description, boundaries) {
  return meter.createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: boundaries } })
}

/** What happened to an attempt, each at its time. @param {import('@opentelemetry/api').Span} span @param {number} start @param {any} attempt */
function addEvents(span, start, attempt) {
  const { number, provider, model, origin, status, error, connection } = attempt
  const which = { 'trunkline.attempt': number }
  const named = provider === null ? {} : { 'trunkline.provider': provider, ...(model && { 'trunkline.model': model }) }
  if (attempt.startedAt !== undefined)
    span.addEvent('trunkline.attempt', { ...which, ...named, 'trunkline.origin': origin }, start + attempt.startedAt)
  if (attempt.sentAt !== undefined) {
    const waits = Object.fromEntries(
      ['queued', 'dns', 'connect', 'tls'].map((name) => [`trunkline.${name}`, attempt[name] / 1000]),
    )
    const { id, protocol, reused } = connection
    const on = {
      'trunkline.connection.id': id,
      'trunkline.connection.protocol': protocol,
      'trunkline.connection.reused': reused,
    }
    span.addEvent('trunkline.sent', { ...which, ...waits, ...on }, start + attempt.sentAt)
  }
  if (attempt.firstByteAt !== undefined) span.addEvent('trunkline.first_byte', which, start + attempt.firstByteAt)
  if (attempt.endedAt !== undefined) {
    const ended = {
      ...(status !== null && { 'http.response.status_code': status }),
      ...(error !== null && { 'error.type': error }),
    }
    span.addEvent('trunkline.attempt_end', { ...which, ...ended }, start + attempt.endedAt)
  }
}

/** @returns {typeof import('@opentelemetry/api')} */
function apiOf() {
  try {
    return require('@opentelemetry/api')
  } catch (cause) {
    throw configError("trunkline/otel: needs the package '@opentelemetry/api'", cause)
  }
}

module.exports = { instrument }

'use strict'

/**
 * `matchers` of `trunkline/testing`, for `expect.extend`. Jest's `expect` and Vitest's call them alike, with `equals` and what prints values
 * as `this`; neither is named here.
 */

const { configError } = require('./errors.js')
const { kindOf, shown } = require('./encode.js')
const { only } = require('./options.js')

/**
 * @typedef {{
 *   equals(a: unknown, b: unknown): boolean,
 *   utils: { printExpected(value: unknown): string, printReceived(value: unknown): string },
 * }} Context
 * @typedef {{ pass: boolean, message(): string }} Result
 * @typedef {import('../testing.js').RecordedRequest} Request
 * @typedef {import('../testing.js').RequestMatch} Match
 * @typedef {[path: string, value: unknown, wanted: unknown]} Difference
 */

/** Of the requests that were received, a message shows so many. */
const SHOWN = 5
/** Of the places where one differs, so many, */
const TOLD = 3
/** and of their values so many characters. */
const LONGEST = 60

const matchers = {
  /** @this {Context} @param {any} upstream @param {Match} [match] @returns {Result} */
  toHaveReceived(upstream, match) {
    const requests = requestsOf(upstream, 'toHaveReceived')
    const count = countOf(this, requests, match)
    return {
      pass: count > 0,
      message: () =>
        count > 0
          ? `Expected no request${like(this, match)}, but ${count} of ${requests.length} ${count === 1 ? 'is' : 'are'}`
          : `Expected a request${like(this, match)}\n${listOf(requests)}${nearestOf(this, requests, match)}`,
    }
  },

  /** @this {Context} @param {any} upstream @param {number} times @param {Match} [match] @returns {Result} */
  toHaveReceivedTimes(upstream, times, match) {
    const requests = requestsOf(upstream, 'toHaveReceivedTimes')
    if (!Number.isInteger(times) || times < 0)
      throw configError(`toHaveReceivedTimes: must be given an integer of 0 or more, got ${shown(times)}`)
    const count = countOf(this, requests, match)
    return {
      pass: count === times,
      message: () =>
        count === times
          ? `Expected another number of requests than ${times}${like(this, match)}`
          : `Expected ${times} ${times === 1 ? 'request' : 'requests'}${like(this, match)}, got ${count}\n${listOf(requests)}`,
    }
  },

  /** @this {Context} @param {any} upstream @param {number} count @returns {Result} */
  toHaveOpenedConnections(upstream, count) {
    requestsOf(upstream, 'toHaveOpenedConnections')
    const { opened } = upstream.connections
    const pass = this.equals(opened, count)
    return {
      pass,
      message: () =>
        `Expected ${pass ? 'another number of connections than' : 'connections:'} ${this.utils.printExpected(count)}` +
        `${pass ? '' : `, opened so far: ${this.utils.printReceived(opened)}`}`,
    }
  },

  /**
   * @this {Context} @param {any} call a promise, or a function that gives one
   * @param {string} code @param {Record<string, unknown>} [properties] @returns {Promise<Result>}
   */
  async toRejectWithCode(call, code, properties = {}) {
    const promise = typeof call === 'function' ? call() : call
    if (typeof promise?.then !== 'function')
      throw configError(
        `toRejectWithCode: must be given a promise or a function that gives one, got ${kindOf(promise)}`,
      )
    /** @type {{ error: any } | null} */
    let rejected = null
    try {
      await promise
    } catch (error) {
      rejected = { error }
    }
    const error = rejected?.error
    const pass = rejected !== null && this.equals(error?.code, code) && holds(this, Object(error), properties)
    return {
      pass,
      message: () => {
        const wanted = `an error of code ${this.utils.printExpected(code)}${within(this, properties)}`
        if (pass) return `Expected no rejection by ${wanted}`
        if (rejected === null) return `Expected a rejection by ${wanted}, but it resolved`
        const found = [...differences(this, Object(error), properties, '')]
        const why = this.equals(error?.code, code) && found.length > 0 ? `, where ${toldOf(this, found)}` : ''
        return `Expected a rejection by ${wanted}, but it was by ${this.utils.printReceived(error?.code)}${why}\n${error?.stack ?? error}`
      },
    }
  },

  /** @this {Context} @param {any} answer a completion, or a message of one @param {string} name @param {unknown} [args] @returns {Result} */
  toHaveToolCall(answer, name, args) {
    if (typeof answer?.then === 'function')
      throw configError('toHaveToolCall: must be given a completion or a message of one, got a promise: await it first')
    const messages = answer?.choices?.map((/** @type {any} */ choice) => choice.message) ?? [answer]
    /** @type {{ name: string, arguments: unknown }[]} */
    const calls = messages
      .flatMap((/** @type {any} */ message) => message?.tool_calls ?? [])
      .map((/** @type {any} */ call) => ({ name: call.function?.name, arguments: parsed(call.function?.arguments) }))
    const pass = calls.some((call) => call.name === name && (args === undefined || holds(this, call.arguments, args)))
    return {
      pass,
      message: () => {
        const wanted = `call of the tool ${this.utils.printExpected(name)}`
        const how = args === undefined ? '' : ` with ${this.utils.printExpected(args)}`
        return `Expected ${pass ? 'no' : 'a'} ${wanted}${how}, got ${this.utils.printReceived(calls)}`
      },
    }
  },
}

/** @param {any} upstream @param {string} matcher @returns {Request[]} */
function requestsOf(upstream, matcher) {
  const requests = upstream?.requests
  if (!Array.isArray(requests)) throw configError(`${matcher}: must be given a MockUpstream, got ${kindOf(upstream)}`)
  return requests
}

/** @param {Context} context @param {Request[]} requests @param {Match} [match] */
function countOf(context, requests, match = {}) {
  if (typeof match === 'function') return requests.filter((request) => match(request)).length
  only(match, ['method', 'path', 'model', 'headers', 'body'], 'match')
  return requests.filter((request) => partings(context, request, match).next().done).length
}

/**
 * Where a request and what is wanted of it part. @param {Context} context @param {Request} request @param {Exclude<Match, Function>} match
 * @returns {Generator<Difference>}
 */
function* partings(context, request, { method, path, model, headers = {}, body }) {
  if (method !== undefined && !is(context, request.method, method)) yield ['method', request.method, method]
  if (path !== undefined && !isPath(context, request.path, path)) yield ['path', request.path, path]
  const asked = modelOf(request)
  if (model !== undefined && !is(context, asked, model)) yield ['model', asked, model]
  for (const [name, wanted] of Object.entries(headers)) {
    const value = request.headers[name.toLowerCase()]
    if (!is(context, value, wanted)) yield [`headers.${name}`, value, wanted]
  }
  if (body !== undefined) yield* differences(context, request.body, body, 'body')
}

/** A text, a pattern, or what `expect` makes (`expect.any(String)`). @param {Context} context @param {unknown} value @param {unknown} wanted */
function is(context, value, wanted) {
  if (wanted instanceof RegExp) return typeof value === 'string' && wanted.test(value)
  return context.equals(value, wanted)
}

/** Without its query, unless one is asked for. @param {Context} context @param {string} path @param {unknown} wanted */
function isPath(context, path, wanted) {
  const hasQuery = typeof wanted === 'string' && wanted.includes('?')
  return is(context, path, wanted) || (!hasQuery && is(context, path.split('?', 1)[0], wanted))
}

/** Gemini has it in the path. @param {Request} request */
function modelOf({ path, body }) {
  const model = /** @type {any} */ (body)?.model
  return typeof model === 'string' ? model : /\/models\/([^/:?]+)/.exec(path)?.[1]
}

/** Whether a value holds what is wanted: of objects the members that are named, deeply. @param {Context} context @param {any} value @param {any} wanted @returns {boolean} */
function holds(context, value, wanted) {
  return differences(context, value, wanted, '').next().done === true
}

/**
 * Where a value does not hold what is wanted. @param {Context} context @param {any} value @param {any} wanted @param {string} path
 * @returns {Generator<Difference>}
 */
function* differences(context, value, wanted, path) {
  const isLeaf =
    typeof wanted !== 'object' ||
    wanted === null ||
    wanted instanceof RegExp ||
    typeof wanted.asymmetricMatch === 'function'
  if (isLeaf) {
    if (!is(context, value, wanted)) yield [path, value, wanted]
  } else if (typeof value !== 'object' || value === null || (Array.isArray(wanted) && !Array.isArray(value))) {
    yield [path, value, wanted]
  } else if (Array.isArray(wanted)) {
    if (value.length !== wanted.length) yield [`${path}.length`, value.length, wanted.length]
    else for (const [at, one] of wanted.entries()) yield* differences(context, value[at], one, `${path}[${at}]`)
  } else {
    for (const name of Object.keys(wanted))
      yield* differences(context, value[name], wanted[name], path === '' ? name : `${path}.${name}`)
  }
}

/** @param {Context} context @param {Match} [match] */
function like(context, match) {
  if (match === undefined) return ''
  return typeof match === 'function' ? ' that the function finds' : ` like ${context.utils.printExpected(match)}`
}

/** @param {Context} context @param {Record<string, unknown>} properties */
function within(context, properties) {
  return Object.keys(properties).length === 0 ? '' : ` with ${context.utils.printExpected(properties)}`
}

/** @param {Request[]} requests */
function listOf(requests) {
  if (requests.length === 0) return 'There was none.'
  const last = requests.slice(-SHOWN).map((request) => {
    const model = modelOf(request)
    return `  ${request.method} ${request.path}${model === undefined ? '' : ` (${model})`}`
  })
  const more = requests.length > SHOWN ? `the last ${SHOWN} of ${requests.length}` : 'all'
  return `Received, ${more}:\n${last.join('\n')}`
}

/** The request that has the most of what is wanted, the last of several. @param {Context} context @param {Request[]} requests @param {Match} [match] */
function nearestOf(context, requests, match) {
  if (typeof match === 'function' || match === undefined) return ''
  /** @type {Difference[] | null} */
  let least = null
  /** @type {Request | null} */
  let nearest = null
  for (const request of requests) {
    const found = [...partings(context, request, match)]
    if (least !== null && found.length > least.length) continue
    least = found
    nearest = request
  }
  if (least === null || nearest === null) return ''
  return `\nThe nearest is ${nearest.method} ${nearest.path}, where ${toldOf(context, least)}`
}

/** The first differences, each with as much of its values as fits a line. @param {Context} context @param {Difference[]} found */
function toldOf({ utils }, found) {
  const told = found
    .slice(0, TOLD)
    .map(
      ([path, value, wanted]) =>
        `${path} is ${utils.printReceived(short(value))} and not ${utils.printExpected(short(wanted))}`,
    )
  const more = found.length > TOLD ? `; and ${found.length - TOLD} more` : ''
  return `${told.join('; ')}${more}`
}

/** @param {unknown} value */
function short(value) {
  if (typeof value === 'string') return value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value
  if (typeof value !== 'object' || value === null || value instanceof RegExp) return value
  if (typeof (/** @type {any} */ (value).asymmetricMatch) === 'function') return value
  const text = JSON.stringify(value)
  return text !== undefined && text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : value
}

/** @param {unknown} text */
function parsed(text) {
  try {
    return JSON.parse(/** @type {string} */ (text))
  } catch {
    return text
  }
}

module.exports = { matchers }

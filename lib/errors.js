'use strict'

/**
 * Error classes. Rust describes an error, JavaScript throws the class. Every instance carries the names of its classes, so
 * that `instanceof` holds across two copies of the package.
 */

const KINDS = Symbol.for('trunkline.error.kinds')

/**
 * @typedef {{
 *   name: string, code: string, message: string, provider?: string | null, model?: string | null,
 *   requestId?: string | null, attempts?: import('../index.js').Attempt[], retryable?: boolean,
 *   billed?: 'yes' | 'no' | 'maybe', cause?: unknown, status?: number, headers?: [string, string][],
 *   type?: string | null, param?: string | null, body?: string | null, retryAfter?: number | null,
 *   phase?: string, limit?: number, partial?: string, details?: string, budget?: object, reason?: string
 * }} Description
 */

class TrunklineError extends Error {
  static kind = 'TrunklineError'

  /** @param {Description} description */
  constructor(description) {
    super(description.message)
    const { cause } = description
    if (cause !== undefined && cause !== null) {
      const value = typeof cause === 'string' ? new Error(cause) : cause
      Object.defineProperty(this, 'cause', { value, configurable: true, writable: true })
    }
    this.code = description.code
    this.provider = description.provider ?? null
    this.model = description.model ?? null
    this.requestId = description.requestId ?? null
    this.attempts = inMilliseconds(description.attempts)
    this.retryable = description.retryable ?? false
    this.billed = description.billed ?? 'no'
  }

  /** @param {unknown} value */
  static [Symbol.hasInstance](value) {
    // A subclass of a user's has no kind of its own.
    if (!Object.hasOwn(this, 'kind')) return Function.prototype[Symbol.hasInstance].call(this, value)
    return (
      typeof value === 'object' && value !== null && /** @type {any} */ (value)[KINDS]?.includes(this.kind) === true
    )
  }
}

class ConfigError extends TrunklineError {
  static kind = 'ConfigError'
}

class APIError extends TrunklineError {
  static kind = 'APIError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.status = description.status ?? 0
    this.headers = new Headers(description.headers)
    this.type = description.type ?? null
    this.param = description.param ?? null
    this.body = parsed(description.body ?? '')
  }
}

class BadRequestError extends APIError {
  static kind = 'BadRequestError'
}
class ContextLengthError extends BadRequestError {
  static kind = 'ContextLengthError'
}
class ContentFilterError extends BadRequestError {
  static kind = 'ContentFilterError'
}
class AuthenticationError extends APIError {
  static kind = 'AuthenticationError'
}
class PermissionDeniedError extends APIError {
  static kind = 'PermissionDeniedError'
}
class NotFoundError extends APIError {
  static kind = 'NotFoundError'
}
class ConflictError extends APIError {
  static kind = 'ConflictError'
}
class UnprocessableEntityError extends APIError {
  static kind = 'UnprocessableEntityError'
}
class RateLimitError extends APIError {
  static kind = 'RateLimitError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.retryAfter = description.retryAfter ?? null
  }
}
class InternalServerError extends APIError {
  static kind = 'InternalServerError'
}

class ConnectionError extends TrunklineError {
  static kind = 'ConnectionError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.phase = description.phase
  }
}

class TimeoutError extends TrunklineError {
  static kind = 'TimeoutError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.phase = description.phase
    this.limit = description.limit
  }
}

class StreamInterruptedError extends TrunklineError {
  static kind = 'StreamInterruptedError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.partial = parsed(description.partial ?? 'null')
    this.body = parsed(description.body ?? 'null')
  }
}

class InvalidResponseError extends TrunklineError {
  static kind = 'InvalidResponseError'
}
class QueueFullError extends TrunklineError {
  static kind = 'QueueFullError'
}

class CircuitOpenError extends TrunklineError {
  static kind = 'CircuitOpenError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.retryAfter = description.retryAfter
  }
}
class NotCachedError extends TrunklineError {
  static kind = 'NotCachedError'
}

class SharedStateError extends TrunklineError {
  static kind = 'SharedStateError'
}

class BudgetExceededError extends TrunklineError {
  static kind = 'BudgetExceededError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    const { scope, name, unit, limit, spent, reserved, window, resetsAt } = /** @type {any} */ (description.budget)
    this.scope = scope
    this.subject = name
    this.unit = unit
    this.limit = limit
    this.spent = spent
    this.reserved = reserved
    this.asked = /** @type {any} */ (description).asked ?? 0
    this.window = window
    this.resetsAt = resetsAt
  }
}
class ClosedError extends TrunklineError {
  static kind = 'ClosedError'
}
class JobError extends TrunklineError {
  static kind = 'JobError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    this.reason = description.reason
  }
}
class HookError extends TrunklineError {
  static kind = 'HookError'
}

class CassetteMissError extends TrunklineError {
  static kind = 'CassetteMissError'

  /** @param {Description} description */
  constructor(description) {
    super(description)
    const { file, request, nearest, differences } = parsed(description.details ?? '{}')
    this.file = file ?? ''
    this.differences = differences ?? []
    // Whole prompts: to be looked at, and not to fill the log of a test run.
    const hidden = { configurable: true, writable: true }
    Object.defineProperty(this, 'request', { value: request ?? null, ...hidden })
    Object.defineProperty(this, 'nearest', { value: nearest ?? null, ...hidden })
  }
}

const classes = {
  TrunklineError,
  ConfigError,
  APIError,
  BadRequestError,
  ContextLengthError,
  ContentFilterError,
  AuthenticationError,
  PermissionDeniedError,
  NotFoundError,
  ConflictError,
  UnprocessableEntityError,
  RateLimitError,
  InternalServerError,
  ConnectionError,
  TimeoutError,
  StreamInterruptedError,
  InvalidResponseError,
  QueueFullError,
  CircuitOpenError,
  NotCachedError,
  BudgetExceededError,
  SharedStateError,
  ClosedError,
  CassetteMissError,
  HookError,
  JobError,
}

for (const [name, Class] of Object.entries(classes)) {
  const kinds = []
  for (let at = Class; Object.hasOwn(at, 'kind'); at = Object.getPrototypeOf(at)) kinds.push(at.kind)
  Object.defineProperty(Class.prototype, 'name', { value: name, configurable: true, writable: true })
  Object.defineProperty(Class.prototype, KINDS, { value: kinds })
}

/**
 * Attempts as they crossed, with their microseconds made milliseconds.
 * @param {import('../index.js').Attempt[]} [attempts]
 */
function inMilliseconds(attempts = []) {
  for (const attempt of attempts) attempt.duration /= 1000
  return attempts
}

/** JSON where it is JSON, else the text. @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/**
 * The error that Rust describes. Its stack begins at the caller of `above`.
 * @param {string} text @param {Function} [above]
 */
function errorOf(text, above = errorOf) {
  /** @type {Description} */
  const description = JSON.parse(text)
  const Class = /** @type {Record<string, typeof TrunklineError>} */ (classes)[description.name] ?? TrunklineError
  const error = new Class(description)
  Error.captureStackTrace(error, above)
  return error
}

/** An error of ours whose stack begins at the caller of `above`, who is among those that run; any other as it is. @param {any} error @param {Function} above */
function fromCaller(error, above) {
  if (error instanceof TrunklineError) Error.captureStackTrace(error, above)
  return error
}

/** The frames of a stack, where V8 writes it as it does by default. @param {unknown} stack */
function framesOf(stack) {
  const at = typeof stack === 'string' ? stack.indexOf('\n    at ') : -1
  return at < 0 ? '' : /** @type {string} */ (stack).slice(at)
}

/** The stack below the caller of `above`, to be given to errors that come later. @param {Function} above */
function callerOf(above) {
  const here = { stack: '' }
  Error.captureStackTrace(here, above)
  return framesOf(here.stack)
}

/** An error of ours with the stack of whoever is to hear of it; any other as it is. @param {any} error @param {string} caller */
function withCaller(error, caller) {
  if (error instanceof TrunklineError && caller !== '') {
    const frames = framesOf(error.stack)
    const head = frames === '' ? error.stack : error.stack?.slice(0, -frames.length)
    Object.defineProperty(error, 'stack', { value: `${head}${caller}`, configurable: true, writable: true })
  }
  return error
}

/** @param {string} message @param {unknown} [cause] */
function configError(message, cause) {
  return new ConfigError({ name: 'ConfigError', code: 'ERR_CONFIG', message, cause })
}

/** @param {string} [message] */
function closedError(message = 'the client is closed') {
  return new ClosedError({ name: 'ClosedError', code: 'ERR_CLOSED', message })
}

module.exports = { classes, errorOf, configError, closedError, inMilliseconds, callerOf, fromCaller, withCaller }

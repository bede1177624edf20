'use strict'

/** Keys as users give them: what is none, and functions that give one. */

const { AsyncResource } = require('node:async_hooks')
const { kindOf } = require('./encode.js')
const { configError } = require('./errors.js')

/** What a header has before a key, and a key has not. */
const SCHEME = /^bearer\s/i
const WITH_SCHEME = "must be the key alone, without the 'Bearer ' before it, which is added"

/** Keys of a client, and of its providers. @param {any} options */
function checkKeys(options) {
  checkKey(options?.apiKey, 'apiKey')
  for (const [name, provider] of Object.entries(options?.providers ?? {}))
    checkKey(provider?.apiKey, `providers.${name}.apiKey`)
}

/** The scheme is added when a key is sent, and would be there twice. @param {any} key @param {string} path */
function checkKey(key, path) {
  const several = Array.isArray(key)
  for (const [at, one] of (several ? key : [key]).entries()) {
    if (typeof one === 'string' && SCHEME.test(one))
      throw configError(`${path}${several ? `[${at}]` : ''}: ${WITH_SCHEME}`)
  }
}

/** A key is everybody's: its function is called in the context of whoever gave it. @param {Function} fn */
function bound(fn) {
  return AsyncResource.bind(/** @type {(...args: unknown[]) => unknown} */ (fn))
}

/**
 * Asks for a key, and tells Rust what was given, by the number of the function. @param {any} native @param {number} number @param {Function | undefined} ask
 */
async function askKey(native, number, ask) {
  try {
    const key = await ask?.()
    if (typeof key === 'string' && !SCHEME.test(key)) native.setKey(number, key, null)
    else if (typeof key === 'string') native.setKey(number, null, `what it gave ${WITH_SCHEME}`)
    else native.setKey(number, null, `it gave ${kindOf(key)} in place of a string`)
  } catch (error) {
    native.setKey(number, null, error instanceof Error ? error.message : 'it threw no error')
  }
}

module.exports = { askKey, bound, checkKey, checkKeys }

'use strict'

/** Options that JavaScript reads itself. */

const { configError } = require('./errors.js')
const { kindOf } = require('./encode.js')

/** The longest of JavaScript's timers, in milliseconds. */
const LONGEST = 2 ** 31 - 1

/** Options of these names alone. @param {any} options @param {string[]} names @param {string} [path] */
function only(options, names, path = 'options') {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw configError(`${path}: must be an object, got ${kindOf(options)}`)
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) throw configError(`${unknown}: is not an option; there are ${names.join(', ')}`)
  return options
}

module.exports = { LONGEST, only }

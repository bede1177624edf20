'use strict'

/** Options as JavaScript that can be pasted. */

/**
 * @param {[name: string, value: unknown, why: string][]} settings Of `pool`. A value that is text stands as it is.
 * @param {{ baseURL?: string }} options
 */
function poolCode(settings, { baseURL }) {
  const rows = settings.map(([name, value, why]) => [`    ${name}: ${shown(value)},`, why])
  const wide = Math.max(0, ...rows.map(([code]) => code.length))
  return [
    'const line = new Trunkline({',
    ...(baseURL ? [`  baseURL: ${quoted(baseURL)},`] : []),
    ...(rows.length > 0 ? ['  pool: {', ...rows.map(([code, why]) => `${code.padEnd(wide)} // ${why}`), '  },'] : []),
    '})',
  ]
}

/** @param {unknown} value */
function shown(value) {
  return typeof value === 'number' ? String(value).replace(/\B(?=(\d{3})+$)/g, '_') : value
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}

module.exports = { poolCode, quoted }

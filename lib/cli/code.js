'use strict'

/** Options as JavaScript that can be pasted. */

/**
 * @param {[name: string, value: unknown, why: string][]} settings Of `pool`. A value that is text stands as it is.
 * @param {{ baseURL?: string, width: number }} options
 */
function poolCode(settings, { baseURL, width }) {
  const rows = settings.map(([name, value, why]) => [`    ${name}: ${shown(value)},`, why])
  const wide = Math.max(0, ...rows.map(([code]) => code.length))
  // Behind the code where there is room for all of them, or else above it.
  const isNarrow = rows.some(([, why]) => wide + 4 + why.length > width)
  const lines = isNarrow
    ? rows.flatMap(([code, why]) => [`    // ${why}`, code])
    : rows.map(([code, why]) => `${code.padEnd(wide)} // ${why}`)
  return [
    'const line = new Trunkline({',
    ...(baseURL ? [`  baseURL: ${quoted(baseURL)},`] : []),
    ...(rows.length > 0 ? ['  pool: {', ...lines, '  },'] : []),
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

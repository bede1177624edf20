'use strict'

/** Options that JavaScript reads itself. */

const { configError } = require('./errors.js')
const { kindOf } = require('./encode.js')

/** The longest of JavaScript's timers, in milliseconds. */
const LONGEST = 2 ** 31 - 1

/** Options of these names alone. @param {any} options @param {string[]} names @param {string} [path] @param {string} [at] what is before a name */
function only(options, names, path = 'options', at = path === 'options' ? '' : `${path}.`) {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw configError(`${path}: must be an object, got ${kindOf(options)}`)
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) {
    const near = nearest(unknown, names)
    const next = near === undefined ? `there are ${names.join(', ')}` : `did you mean ${at}${near}?`
    throw configError(`${at}${unknown}: is not an option; ${next}`)
  }
  return options
}

/** The one that was meant: it begins as this does, or few letters make the difference. @param {string} name @param {string[]} names */
function nearest(name, names) {
  const small = name.toLowerCase()
  const longer = names.find((known) => small.length >= 3 && known.toLowerCase().startsWith(small))
  if (longer !== undefined) return longer
  const [best] = names
    .map((known) => ({ known, far: distance(small, known.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)
  return best !== undefined && best.far <= Math.max(1, name.length / 3) ? best.known : undefined
}

/** Letters to be added, left out, changed, or put the other way round. @param {string} a @param {string} b */
function distance(a, b) {
  const rows = [Array.from({ length: b.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    const above = rows[i - 1]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1)
    }
    rows.push(row)
  }
  return rows[a.length][b.length]
}

module.exports = { LONGEST, nearest, only }

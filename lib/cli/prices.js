'use strict'

/** The built-in table of list prices, as `src/policy/money/table.rs` reads it, and what tokens cost by a row of it. */

/** A price for a million tokens is whole in millionths of a dollar, so one token costs so many picodollars. */
const MICROS = 1_000_000
const PICOS = 1e12

/** @returns {any} */
function table() {
  return require('../../src/policy/money/prices.json')
}

/** The rows that hold at a time, each under its name. @param {Date} now */
function rows(now) {
  const today = now.toISOString().slice(0, 10)
  /** @type {Map<string, any>} */
  const current = new Map()
  for (const row of table().models) {
    const key = `${row.vendor}/${row.name}`
    const from = row.from ?? ''
    if (from <= today && from >= (current.get(key)?.from ?? '')) current.set(key, row)
  }
  return [...current.values()]
}

/** The row of a model: by its name, an alias, or its name without the date at its end. @param {string} model @param {Date} now */
function priceOf(model, now) {
  const name = model.replace(/^models\//, '')
  const all = rows(now)
  for (const candidate of [name, name.replace(/-(\d{4}-\d{2}-\d{2}|\d{8})$/, '')]) {
    const found = all.find((row) => row.name === candidate || row.aliases?.includes(candidate))
    if (found) return found
  }
  return undefined
}

/**
 * What one request costs, in picodollars. As with the client, a prompt beyond `above.tokens` makes all of its tokens dearer.
 * @param {any} price @param {{ input: number, cachedInput: number, output: number }} tokens
 */
function requestCost(price, { input, cachedInput, output }) {
  const holds = price.above && input > price.above.tokens ? price.above : price
  const cost = (/** @type {number} */ dollars, /** @type {number} */ tokens) =>
    BigInt(Math.round(dollars * MICROS)) * BigInt(tokens)
  return (
    cost(holds.input, input - cachedInput) +
    cost(holds.cachedInput ?? holds.input, cachedInput) +
    cost(holds.output, output)
  )
}

module.exports = { PICOS, priceOf, requestCost, rows }

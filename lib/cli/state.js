'use strict'

/**
 * What the state file of a budget says, as `src/client/money/state.rs` writes it. It is read once and never written to, nor is its
 * lock taken: whoever writes it puts a new one in its place in one piece.
 */

const HOUR = 3_600_000
const DAY = 24 * HOUR
const WINDOWS = /** @type {const} */ (['hour', 'day', 'month'])
const VERSION = 1

/**
 * @typedef {{ usd: bigint, tokens: bigint }} Amount In picodollars.
 * @typedef {{ number: number, amount: Amount }} Spent
 * @typedef {{ windows: Record<'hour' | 'day' | 'month', Spent>, held: Amount }} Row
 */

/** What was spent and is spoken for, by scope (`all`, `model:…`, `tenant:…`), and how many lines cannot be read. @param {string} text */
function readState(text) {
  /** @type {Map<string, Row>} */
  const rows = new Map()
  /** @type {Map<number, any>} */
  const open = new Map()
  const lines = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1)
  const begin = lines.length > 0 ? parse(lines[0])?.begin : undefined
  // It says how many lines came with it.
  const missing = Math.max(0, (begin?.lines ?? 0) + 1 - lines.length)
  let unreadable = begin?.version === VERSION ? missing : 1
  for (const line of lines.slice(1)) if (!enter(parse(line), rows, open)) unreadable++
  for (const what of open.values()) {
    for (const of of what.of) {
      const row = rowOf(rows, of)
      row.held = sum(row.held, amountOf(what))
    }
  }
  return { rows, unreadable, begun: begin !== undefined, open: open.size }
}

/** @param {string} line */
function parse(line) {
  const [, sum, json] = /^([0-9a-f]{1,8}) (.*)$/s.exec(line) ?? []
  if (json === undefined || Number.parseInt(sum, 16) !== sumOf(json)) return undefined
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** FNV-1a, 32 bits. @param {string} text */
function sumOf(text) {
  let sum = 0x811c9dc5
  for (const byte of Buffer.from(text)) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0
  return sum
}

/** Whether a line could be entered. @param {any} line @param {Map<string, Row>} rows @param {Map<number, any>} open */
function enter(line, rows, open) {
  try {
    const { before, held, paid, done } = line
    if (before) {
      const row = rowOf(rows, before.of)
      for (const window of WINDOWS) {
        const [number, what] = before[window]
        row.windows[window] = { number, amount: amountOf(what) }
      }
    } else if (held) {
      amountOf(held)
      open.set(held.id, { of: [], ...held })
    } else if (paid) {
      const amount = amountOf(paid)
      for (const of of paid.of ?? []) spend(rowOf(rows, of), amount, paid.at ?? 0)
    } else if (done) {
      open.delete(done.id)
    } else {
      return false
    }
    return true
  } catch {
    return false
  }
}

/** @param {any} what @returns {Amount} */
function amountOf({ usd, tokens = 0 }) {
  return { usd: BigInt(usd), tokens: BigInt(tokens) }
}

/** @param {Amount} one @param {Amount} other @returns {Amount} */
function sum(one, other) {
  return { usd: one.usd + other.usd, tokens: one.tokens + other.tokens }
}

/** @returns {Amount} */
function nothing() {
  return { usd: 0n, tokens: 0n }
}

/** @param {Map<string, Row>} rows @param {string} of @returns {Row} */
function rowOf(rows, of) {
  const none = () => ({ number: 0, amount: nothing() })
  const row = rows.get(of) ?? { windows: { hour: none(), day: none(), month: none() }, held: nothing() }
  rows.set(of, row)
  return row
}

/** What comes later than a window begins another; what comes from before it, by a clock that was set, counts in it. @param {Row} row @param {Amount} amount @param {number} second */
function spend(row, amount, second) {
  const numbers = numbersAt(second * 1000)
  for (const window of WINDOWS) {
    const spent = row.windows[window]
    row.windows[window] =
      numbers[window] > spent.number
        ? { number: numbers[window], amount }
        : { number: spent.number, amount: sum(spent.amount, amount) }
  }
}

/** The windows that a moment is in: each has a number, counted from 1970 in UTC. @param {number} at Milliseconds since 1970. */
function numbersAt(at) {
  const date = new Date(at)
  return {
    hour: Math.floor(at / HOUR),
    day: Math.floor(at / DAY),
    month: (date.getUTCFullYear() - 1970) * 12 + date.getUTCMonth(),
  }
}

/** @param {'hour' | 'day' | 'month'} window @param {number} number */
function beginOf(window, number) {
  if (window === 'month') return new Date(Date.UTC(1970, number))
  return new Date(number * (window === 'hour' ? HOUR : DAY))
}

module.exports = { WINDOWS, beginOf, numbersAt, readState }

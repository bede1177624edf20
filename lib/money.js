'use strict'

/** What was spent and saved, as objects and as texts: Rust has the figures (`src/client/money/report.rs`). */

const { configError } = require('./errors.js')
const { kindOf, shown } = require('./encode.js')
const { only } = require('./options.js')

const WINDOWS = ['hour', 'day', 'month', 'all']
const HOUR = 3_600_000

/** @param {any} options */
function windowOf(options) {
  const { window = 'all', before = false } = only(options, ['window', 'before'])
  if (!WINDOWS.includes(window)) {
    const got = typeof window === 'string' ? `'${window}'` : kindOf(window)
    throw configError(`window: must be one of ${WINDOWS.map((name) => `'${name}'`).join(', ')}, got ${got}`)
  }
  if (typeof before !== 'boolean') throw configError(`before: must be a boolean, got ${kindOf(before)}`)
  if (before && window === 'all') throw configError("before: needs a window of 'hour', 'day' or 'month'")
  return { window, before }
}

/** @param {string} text @param {string} window @param {boolean} before */
function costReport(text, window, before) {
  const report = JSON.parse(text)
  return withText(report, () => costText(report, window, before))
}

/** @param {string} text @param {any} options */
function savingsReport(text, options) {
  const { hourlyCost } = only(options, ['hourlyCost'])
  if (hourlyCost !== undefined && !(typeof hourlyCost === 'number' && hourlyCost >= 0 && hourlyCost < Infinity)) {
    throw configError(`hourlyCost: must be a number of 0 or more, got ${shown(hourlyCost)}`)
  }
  const report = JSON.parse(text)
  if (hourlyCost !== undefined) {
    // What waiting costs, be it of a machine or of somebody.
    report.timeValue = (report.timeSaved / HOUR) * hourlyCost
    if (report.perMonth) report.perMonth.timeValue = (report.perMonth.timeSaved / HOUR) * hourlyCost
  }
  return withText(report, () => savingsText(report))
}

/** A report whose `String()` is a text for people. @param {object} report @param {() => string} text */
function withText(report, text) {
  return Object.defineProperty(report, 'toString', { value: text, configurable: true, writable: true })
}

/** @param {any} report @param {string} window @param {boolean} before */
function costText(report, window, before) {
  const of = window === 'all' ? 'since the client was made' : `in ${before ? 'the last' : 'this'} ${window}`
  const about = report.estimated > 0 ? `, ${dollars(report.estimated)} of it estimated` : ''
  const lines = [`${dollars(report.total)} ${of}${about}`]
  const models = Object.entries(report.byModel).sort(([, one], [, other]) => other.cost - one.cost)
  lines.push(
    ...table(
      models.map(([name, { requests, inputTokens, outputTokens, cost, unpriced }]) => [
        name,
        unpriced === requests ? 'no price' : dollars(cost),
        many(requests, 'request'),
        `${count(inputTokens)} in`,
        `${count(outputTokens)} out`,
      ]),
    ),
  )
  for (const [title, sums] of [
    ['by provider', report.byProvider],
    ['by tenant', report.byTenant],
  ]) {
    const rows = Object.entries(sums).sort(([, one], [, other]) => other - one)
    if (rows.length > 1 || (rows.length === 1 && title === 'by tenant'))
      lines.push(title, ...table(rows.map(([name, cost]) => [name, dollars(cost)])))
  }
  if (report.unpriced.length > 0) lines.push(`no price is known of: ${report.unpriced.join(', ')}`)
  for (const limit of report.budget?.limits ?? []) {
    const amount = limit.unit === 'usd' ? dollars : (/** @type {number} */ tokens) => many(tokens, 'token')
    const whose = limit.name === null ? '' : ` of the ${limit.scope} ${limit.name}`
    const share = `${((limit.spent / limit.limit) * 100).toFixed(1)} %`
    const until = new Date(limit.resetsAt).toISOString()
    lines.push(
      `budget${whose}: ${amount(limit.spent)} of ${amount(limit.limit)} (${share}) a ${limit.window}, until ${until}`,
    )
  }
  return lines.join('\n')
}

/** @param {any} report */
function savingsText(report) {
  const { perMonth: month } = report
  /** @type {[string, (amount: number) => string, string][]} */
  const figures = [
    ['handshakes', count, 'handshakesAvoided'],
    [`time (a handshake takes ${span(report.handshake)})`, span, 'timeSaved'],
    ...(report.timeValue === undefined ? [] : [/** @type {any} */ (['which is worth', dollars, 'timeValue'])]),
    ['requests', count, 'requestsSaved'],
    ['dollars for them', dollars, 'costSaved'],
    ['and has spent', dollars, 'cost'],
  ]
  const rows = figures.map(([title, text, name]) => [title, text(report[name]), ...(month ? [text(month[name])] : [])])
  const rate = month ? ', and at this rate in 30 days' : ' (a rate is told from a minute on)'
  return [`in ${span(report.uptime)} this client has saved${rate}`, ...table(rows)].join('\n')
}

/** Columns, the first to the left and the others to the right. @param {string[][]} rows */
function table(rows) {
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at].length))) ?? []
  return rows.map(
    (row) => `  ${row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ')}`,
  )
}

/** @param {number} amount */
function dollars(amount) {
  const isCents = Math.abs(amount * 100 - Math.round(amount * 100)) < 1e-9
  return `$${amount.toFixed(isCents || amount >= 0.1 ? 2 : 6)}`
}

/** @param {number} n */
function count(n) {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** @param {number} n @param {string} what one of them */
function many(n, what) {
  return `${count(n)} ${what}${Math.round(n) === 1 ? '' : 's'}`
}

/** Milliseconds for people. @param {number} ms */
function span(ms) {
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`
  const units = /** @type {[number, string][]} */ ([
    [86_400_000, 'd'],
    [HOUR, 'h'],
    [60_000, 'min'],
    [1000, 's'],
  ])
  const [size, unit] = units.find(([size]) => ms >= size) ?? [1000, 's']
  return `${(ms / size).toFixed(1)} ${unit}`
}

module.exports = { costReport, savingsReport, windowOf }

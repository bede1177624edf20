'use strict'

/** How far a job is, told on standard error: a bar that is drawn over itself on a terminal, a line now and then elsewhere. */

const { relative } = require('node:path')
const { count, dollars, many, plain, time } = require('./screen.js')

/** Milliseconds between two lines where no bar can be. */
const LINES = 10_000
/** The rate is that of so many looks, a second apart. */
const LOOKS = 15
const WIDE = 24

class Report {
  #screen
  #isTerminal
  /** @type {{ at: number, settled: number }[]} */
  #looks = []
  #said = 0
  #drawn = false

  /** @param {import('./screen.js').Terminal} screen @param {boolean} isTerminal */
  constructor(screen, isTerminal) {
    this.#screen = screen
    this.#isTerminal = isTerminal
  }

  /** @param {any} progress @param {number} [now] */
  tell(progress, now = performance.now()) {
    const rate = this.#rate(progress, now)
    if (this.#isTerminal) return this.#draw(barOf(progress, rate, this.#screen))
    if (this.#said > 0 && now - this.#said < LINES) return
    this.#said = now
    this.#screen.say(lineOf(progress, rate))
  }

  /** Something else is to be said: the bar goes. */
  clear() {
    if (this.#drawn) this.#screen.write('\r\u001b[2K')
    this.#drawn = false
  }

  /** @param {string} text */
  #draw(text) {
    this.#screen.write(`\r\u001b[2K${text}`)
    this.#drawn = true
  }

  /** Lines a second, of late. @param {any} progress @param {number} now */
  #rate({ succeeded, failed, phase }, now) {
    if (phase === 'checking') return 0
    this.#looks.push({ at: now, settled: succeeded + failed })
    if (this.#looks.length > LOOKS) this.#looks.shift()
    const [first] = this.#looks
    return now > first.at ? ((succeeded + failed - first.settled) * 1000) / (now - first.at) : 0
  }
}

/** @param {any} progress @param {number} rate @param {import('./screen.js').Terminal} screen */
function barOf(progress, rate, screen) {
  const share = shareOf(progress)
  const full = Math.round(share * WIDE)
  const bar = `${screen.paint('cyan', '█'.repeat(full))}${screen.paint('dim', '░'.repeat(WIDE - full))}`
  const percent = `${Math.floor(share * 100)} %`.padStart(5)
  return `${bar} ${percent}  ${lineOf(progress, rate, screen.width - WIDE - 8)}`
}

/** @param {any} progress @param {number} rate Lines a second. @param {number} [most] Of letters. */
function lineOf(progress, rate, most = 1000) {
  const { phase, total, succeeded, failed, usage, cost, waiting, workers = 0 } = progress
  if (phase === 'checking' && waiting) return plain(`waits: ${waiting.message}`, most)
  if (phase === 'checking') return plain(`the input is read: ${Math.floor(shareOf(progress) * 100)} %`, most)
  const left = total - succeeded - failed
  // A worker has no file, and does not know how much there is.
  const settled = total > 0 ? `${count(succeeded + failed)} of ${count(total)}` : count(succeeded + failed)
  const parts = [settled, failed > 0 ? `${count(failed)} failed` : '']
  if (waiting) {
    const until = waiting.until
      ? ` until ${new Date(waiting.until).toISOString().slice(0, 16).replace('T', ' ')} UTC`
      : ''
    parts.push(`waits${until}: ${waiting.message}`)
  } else {
    parts.push(rate > 0 ? `${rate < 10 ? rate.toFixed(1) : count(rate)}/s` : '')
    parts.push(usage.total_tokens > 0 ? `${short(usage.total_tokens)} tokens` : '')
    parts.push(cost > 0 ? dollars(cost) : '')
    parts.push(workers > 0 ? many(workers, 'worker') : '')
    parts.push(rate > 0 && left > 0 ? `${time(Math.ceil(left / rate) * 1000)} left` : '')
  }
  if (phase === 'stopping') parts.push('stopping')
  return plain(parts.filter(Boolean).join(', '), most)
}

/** @param {any} progress */
function shareOf({ phase, total, succeeded, failed, checkedBytes, inputBytes }) {
  if (phase === 'checking') return inputBytes > 0 ? Math.min(1, checkedBytes / inputBytes) : 0
  return total > 0 ? (succeeded + failed) / total : 1
}

/** A path as it would be typed here. @param {string} file */
function near(file) {
  const short = relative(process.cwd(), file)
  return short.startsWith('..') ? file : short
}

/** @param {number} n */
function short(n) {
  if (n < 10_000) return count(n)
  return n < 10_000_000 ? `${count(n / 1000)}k` : `${(n / 1_000_000).toFixed(1)}M`
}

/**
 * What a run came to, in lines. `unpriced`: models of which no price is known; `failure`: the first line of those that failed.
 *
 * @param {any} result @param {import('./screen.js').Terminal} screen @param {{ unpriced: string[], failure?: string }} more
 */
function* endOf(result, screen, { unpriced, failure }) {
  const { status, error, resumesAt, output, errors, badLines, progress } = result
  const { total, succeeded, failed, resumed, repeated, twice = 0, workers = 0, usage, cost, elapsed } = progress
  const marks = { done: ['green', '✓'], stopped: ['yellow', '!'], paused: ['yellow', '!'], ended: ['red', '✗'] }
  // Done, and still not well.
  const word = status !== 'done' || failed === 0 ? status : succeeded > 0 ? 'stopped' : 'ended'
  const [colour, mark] = /** @type {any} */ (marks)[word]
  const left = total - succeeded - failed
  if (output === null) {
    const ends = {
      done: 'The job is done',
      stopped: 'Stopped',
      paused: 'Paused, since the budget is used up',
      ended: 'Ended',
    }
    yield `${screen.paint(colour, mark)} ${/** @type {any} */ (ends)[status]}: ${count(succeeded)} answered here, ${count(failed)} failed`
    if (error) yield `  ${plain(error.message, 300)}`
    yield `  ${time(elapsed)}; ${count(usage.total_tokens)} tokens, ${spent(cost, unpriced)}`
    return
  }
  const heads = {
    done: `${many(total, 'line')}: ${count(succeeded)} answered, ${count(failed)} failed`,
    stopped: `Stopped: ${many(left, 'line')} left of ${count(total)}`,
    paused: `Paused, since the budget is used up${resumesAt ? ` until ${resumesAt.toISOString().slice(0, 16).replace('T', ' ')} UTC` : ''}: ${many(left, 'line')} left of ${count(total)}`,
    ended: `Ended, since no line would fare better: ${many(left, 'line')} left of ${count(total)}`,
  }
  yield `${screen.paint(colour, mark)} ${/** @type {any} */ (heads)[status]}`
  if (error) yield `  ${plain(error.message, 300)}`
  const ran = succeeded + failed - resumed
  yield `  ${count(ran)} in ${time(elapsed)}${resumed > 0 ? `, and ${count(resumed)} by earlier runs` : ''}; ${count(usage.total_tokens)} tokens, ${spent(cost, unpriced)}`
  if (repeated > 0)
    yield `  ${many(repeated, 'call')} ${repeated === 1 ? 'was' : 'were'} under way when ${workers > 0 ? 'their worker was lost' : 'an earlier run was cut off'}, and may have been paid twice`
  if (twice > 0)
    yield `  ${many(twice, 'line')} ${twice === 1 ? 'was' : 'were'} answered twice: the second answer is dropped, and was paid for`
  const { batches } = progress
  if (batches.length > 0) {
    const answered = batches.reduce((/** @type {number} */ sum, /** @type {any} */ { completed }) => sum + completed, 0)
    yield `  ${many(answered, 'line')} by ${batchesOf(batches)}, at half the price`
  }
  const far = farOf(batches)
  if (far !== '') yield `  Left running: ${far}; --provider-batch gathers what they answer, --cancel-batches ends them`
  if (output) yield `  ${near(output)}`
  if (errors) yield `  ${near(errors)}${failure ? `, where the first is ${plain(failure, 300)}` : ''}`
  if (badLines.count > 0) {
    yield ''
    yield `${many(badLines.count, 'line')} could not be sent:`
    for (const { message } of badLines.first) yield `  ${plain(message)}`
    if (badLines.count > badLines.first.length) yield `  … ${many(badLines.count - badLines.first.length, 'more line')}`
  }
  if (status !== 'done') yield `The same command goes on where this one was.`
}

/** Nothing is not what it cost where no price is known. @param {number} cost @param {string[]} unpriced */
function spent(cost, unpriced) {
  if (unpriced.length === 0) return dollars(cost)
  return `${cost > 0 ? `${dollars(cost)}, and ` : ''}no price is known of ${plain(unpriced.join(', '), 200)}`
}

/** Those that run at providers; empty where there are none. @param {any[]} batches */
function farOf(batches) {
  const running = batches.filter(({ id, isOver }) => id !== null && !isOver)
  return running.length > 0 ? batchesOf(running) : ''
}

/** @param {any[]} batches */
function batchesOf(batches) {
  const names = [...new Set(batches.map(({ provider }) => provider))].join(', ')
  return `${count(batches.length)} ${batches.length === 1 ? 'batch' : 'batches'} at ${names}`
}

module.exports = { Report, endOf, farOf, lineOf }

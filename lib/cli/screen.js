'use strict'

/** What people see: colours where they are wanted, columns, and units. */

const { styleText, stripVTControlCharacters } = require('node:util')

/** @typedef {Screen} Terminal */

const WIDEST = 100
const NARROWEST = 40

class Screen {
  #stream
  #colours
  #muted = false

  /** @param {NodeJS.WriteStream} stream @param {NodeJS.ProcessEnv} env */
  constructor(stream, env) {
    this.#stream = stream
    this.#colours = hasColours(stream, env)
    const columns = stream.columns || Number(env.COLUMNS) || 80
    this.width = Math.max(NARROWEST, Math.min(WIDEST, columns))
  }

  /** From now on `write` alone is heard. */
  mute() {
    this.#muted = true
  }

  /** A line, or several. */
  say(text = '') {
    if (!this.#muted) this.#stream.write(`${text}\n`)
  }

  /** @param {string} text */
  write(text) {
    this.#stream.write(text)
  }

  /** @param {'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'} style @param {string} text */
  paint(style, text) {
    // Node's own rule, where it has one, looks at standard output alone.
    return this.#colours ? styleText(style, text, { validateStream: false }) : text
  }

  /** @param {string} text */
  title(text) {
    return this.paint('bold', text)
  }

  /** @param {string} text @param {number} [indent] Of all lines but the first, which is to be put behind as much. */
  wrap(text, indent = 0) {
    const width = this.width - indent
    /** @type {string[]} */
    const lines = []
    for (const word of text.split(' ')) {
      const last = lines.at(-1)
      if (last !== undefined && lengthOf(last) + 1 + lengthOf(word) <= width)
        lines[lines.length - 1] = `${last} ${word}`
      else lines.push(word)
    }
    return lines.join(`\n${' '.repeat(indent)}`)
  }

  /** Names and what they mean. @param {string[][]} rows */
  list(rows) {
    const wide = Math.min(30, Math.max(...rows.map(([name]) => name.length)))
    return rows.map(([name, about]) => {
      const indent = wide + 4
      const gap = name.length > wide ? `\n${' '.repeat(indent)}` : ' '.repeat(indent - 2 - name.length)
      return `  ${this.paint('cyan', name)}${gap}${this.wrap(about, indent)}`
    })
  }

  /**
   * Columns: the first to the left, the others to the right. The first row has their names. @param {string[][]} rows
   */
  table(rows) {
    const widths = rows[0].map((_, at) => Math.max(...rows.map((row) => lengthOf(row[at]))))
    return rows.map((row, line) => {
      const cells = row.map((cell, at) => {
        const gap = ' '.repeat(widths[at] - lengthOf(cell))
        return at === 0 ? cell + gap : gap + cell
      })
      const text = `  ${cells.join('  ').trimEnd()}`
      return line === 0 ? this.paint('dim', text) : text
    })
  }
}

/** @param {NodeJS.WriteStream} stream @param {NodeJS.ProcessEnv} env */
function hasColours(stream, { FORCE_COLOR, NO_COLOR, TERM }) {
  if (FORCE_COLOR !== undefined) return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
  if (NO_COLOR) return false
  return Boolean(stream.isTTY) && TERM !== 'dumb'
}

/** @param {string} text */
function lengthOf(text) {
  return stripVTControlCharacters(text).length
}

/**
 * What others have said, to be printed: without what would move a terminal's cursor. @param {unknown} text @param {number} [most]
 */
function plain(text, most = 200) {
  const line = stripVTControlCharacters(String(text)).replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
  return line.length > most ? `${line.slice(0, most - 1)}…` : line
}

/** Milliseconds. @param {number} ms */
function time(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 120_000) return `${Number((ms / 1000).toFixed(1))} s`
  return ms < 7_200_000 ? `${Number((ms / 60_000).toFixed(1))} min` : `${Number((ms / 3_600_000).toFixed(1))} h`
}

/** @param {number | bigint} n */
function count(n) {
  return String(typeof n === 'bigint' ? n : Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** @param {number} n @param {string} what In the singular. */
function many(n, what) {
  return `${count(n)} ${what}${n === 1 ? '' : /(s|x|ch|sh)$/.test(what) ? 'es' : 's'}`
}

/** @param {number} amount */
function dollars(amount) {
  const [whole, cents] = amount.toFixed(amount === 0 || amount >= 0.1 ? 2 : 6).split('.')
  return `$${count(BigInt(whole))}.${cents}`
}

module.exports = { Screen, count, dollars, many, plain, time }

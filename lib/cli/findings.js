'use strict'

/** What was found, step by step: kept for `--json`, and told as it comes. */

/** Of what is said of each step. */
const INDENT = 13

class Findings {
  /** @type {{ step: string, code: string, message: string, advice: string }[]} */
  problems = []
  /** @type {{ step: string, message: string }[]} */
  notes = []

  /** @param {import('./screen.js').Terminal} screen */
  constructor(screen) {
    this.screen = screen
  }

  /** @param {string} step @param {'ok' | 'bad' | 'none'} state @param {string[]} lines */
  tell(step, state, lines) {
    const { screen } = this
    const mark = { ok: screen.paint('green', '✓'), bad: screen.paint('red', '✗'), none: screen.paint('dim', '–') }[
      state
    ]
    const [first, ...rest] = lines.map((line) => screen.wrap(line, INDENT))
    screen.say(`  ${mark} ${step.padEnd(INDENT - 4)}${first}`)
    for (const line of rest) screen.say(`${' '.repeat(INDENT)}${screen.paint('dim', line)}`)
  }

  /** @param {string} step @param {import('./advice.js').Problem} problem @param {string[]} [lines] */
  problem(step, problem, lines = []) {
    this.problems.push({ step, ...problem })
    this.tell(step, 'bad', [problem.message, ...lines])
    this.#below('→', problem.advice)
  }

  /** @param {string} step @param {string} message */
  note(step, message) {
    this.notes.push({ step, message })
    this.#below('!', message)
  }

  /** @param {string} mark @param {string} text */
  #below(mark, text) {
    this.screen.say(`${' '.repeat(INDENT)}${this.screen.paint('yellow', mark)} ${this.screen.wrap(text, INDENT + 2)}`)
  }
}

module.exports = { Findings }

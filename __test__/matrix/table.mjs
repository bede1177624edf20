// The tables of docs/runtimes.md: what the run saw, in place of what stands there.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../support.mjs'
import { runtimes, scripts, server, suites, tools, toolsNode } from './cases.mjs'

const page = join(root, 'docs/runtimes.md')
const BEGIN = '<!-- What follows is written by `npm run test:matrix -- --write`. -->\n'
const END = '<!-- That was it. -->\n'

/** @param {Map<string, string | true>} seen by `what` and the runtime's name: true, or why not */
export function tablesOf(seen) {
  const notes = []
  const cell = (what, name) => {
    const outcome = seen.get(`${what} | ${name}`)
    if (outcome === undefined) return '–'
    if (outcome === true) return 'yes'
    if (!notes.includes(outcome)) notes.push(outcome)
    return `no (${notes.indexOf(outcome) + 1})`
  }
  const line = (cells) => `| ${cells.join(' | ')} |`
  const names = runtimes.map(({ name }) => name)
  return [
    line(['', ...names]),
    line(['---', ...names.map(() => '---')]),
    ...[...scripts, OWN].map(({ what }) => line([what, ...names.map((name) => cell(what, name))])),
    '',
    line(['', toolsNode.name]),
    line(['---', '---']),
    ...[...tools, server].map(({ what }) => line([what, cell(what, toolsNode.name)])),
    '',
    ...notes.map((note, at) => `${at + 1}. ${note}`),
    '',
  ].join('\n')
}

/** The row of what is tested by this repository's own suites. */
export const OWN = { what: `this package's own tests (${suites.map((name) => `\`${name}\``).join(', ')})` }

export function writtenTables() {
  const [, after] = readFileSync(page, 'utf8').split(BEGIN)
  return after?.split(END)[0]
}

export function writeTables(tables) {
  const [before, after] = readFileSync(page, 'utf8').split(BEGIN)
  writeFileSync(page, `${before}${BEGIN}${tables}${END}${after.split(END)[1]}`)
}

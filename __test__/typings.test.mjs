// What holds of the typings as texts; what they take and refuse is in `types/`.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from './support.mjs'

const files = ['index.d.ts', 'testing.d.ts'].map((name) => ({ name, text: readFileSync(join(root, name), 'utf8') }))

const TOKENS = /\/\*[\s\S]*?\*\/|\/\/.*|'(?:\\.|[^'\\])*'/g

test('nothing that users see is any', () => {
  for (const { name, text } of files) {
    const code = text.replace(TOKENS, (token) => token.replace(/[^\n]/g, ' '))
    const lines = code
      .split('\n')
      .flatMap((line, at) => (/\bany\b|\bFunction\b/.test(line) ? [`${name}:${at + 1}`] : []))
    assert.deepEqual(lines, [])
  }
})

/** The members of the interfaces whose names end so: name, type and the comment before. */
function* membersOf(text, ending) {
  const interfaces = text.matchAll(/^export interface (\w+)[^{]*\{\n([\s\S]*?)^\}/gm)
  for (const [, owner, body] of interfaces) {
    if (!ending.test(owner)) continue
    const members = body.matchAll(/^ {2}(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n {2})?(\w+)(\??): ([^\n]*)/gm)
    for (const [, comment = '', name, optional, type] of members) yield { owner, name, optional, type, comment }
  }
}

test('every option says what it is, and one that is a number or a switch what it is by default', () => {
  const silent = []
  let seen = 0
  for (const { text } of files) {
    for (const { owner, name, optional, type, comment } of membersOf(text, /Options$/)) {
      seen++
      if (comment === '') silent.push(`${owner}.${name}: no comment`)
      const plain = /^(number|boolean|false|true)( \||$)/.test(type)
      if (optional && plain && !/default/i.test(comment)) silent.push(`${owner}.${name}: no default`)
    }
  }
  assert.ok(seen > 80, `${seen} options`)
  assert.deepEqual(silent, [])
})

test('every class, interface of options and function says what it is for', () => {
  for (const { name, text } of files) {
    const silent = text.matchAll(/(\*\/\n)?^export declare (?:class|function|const) (\w+)/gm)
    assert.deepEqual(
      [...silent].flatMap(([, comment, what]) => (comment ? [] : [`${name}: ${what}`])),
      [],
    )
  }
})

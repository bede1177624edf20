// What users can name, and what of a change breaks their code: it has to be announced.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { apiHere, comparison, typings } from '../../scripts/release/api.mjs'
import { differences, unannounced } from '../../scripts/release/api-diff.mjs'
import { lineOf, reportOf } from '../../scripts/release/api-report.mjs'

const reports = new Map()
/** The report of one file of typings; each is read once. */
function report(t, text) {
  if (!reports.has(text)) reports.set(text, read(t, text))
  return reports.get(text)
}

function read(t, text) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-api-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'tsconfig.json'), '{ "compilerOptions": { "types": [] }, "include": ["it.d.ts"] }')
  writeFileSync(join(folder, 'it.d.ts'), text)
  return reportOf(join(folder, 'tsconfig.json'), [join(folder, 'it.d.ts')])
}

/** What a change of typings comes to: `path: why`. */
function changes(t, before, after) {
  const { breaks, additions } = differences(report(t, before), report(t, after))
  const lines = (list) => list.map(({ path, why }) => `${path}: ${why}`)
  return { breaks: lines(breaks), additions: lines(additions) }
}

test('the API breaks nothing that is not announced in the changelog', () => {
  assert.deepEqual(comparison().silent, [], 'npm run api')
})

test('everything that is exported is in the report', () => {
  const report = apiHere()
  assert.deepEqual(Object.keys(report), typings)
  const lines = Object.values(report).flatMap((entries) => entries.map(lineOf))
  for (const line of [
    'TrunklineOptions.baseURL?: string',
    'Trunkline.constructor(options?: TrunklineOptions)',
    'Trunkline.chat(request: ChatRequest, options?: CallOptions): Call<ChatCompletion>',
    'instrument(line: Trunkline, options?: InstrumentOptions): () => void',
    'type FinishReason',
    "'content_filter'",
  ]) {
    assert.ok(lines.includes(line), line)
  }
})

const BEFORE = `
  export interface Options { url: string; limit?: number; deep?: { one?: string } }
  export interface Answer { text: string; cost?: number }
  export type Mode = 'a' | 'b'
  export declare class Client {
    constructor(options: Options)
    ask(question: string): Promise<Answer>
    mode(mode: Mode): void
    private hidden: number
  }
  export declare function make(options?: Options): Client
`
const changed = (from, to) => BEFORE.replace(from, to)

test('layout, comments and what is private are no change', (t) => {
  const after = changed('url: string', '/** Where. */\n    url:\n      string /* here */').replace(
    'hidden: number',
    'gone: string',
  )
  assert.deepEqual(changes(t, BEFORE, after), { breaks: [], additions: [] })
})

test('what is gone, or another, is a break', (t) => {
  for (const [after, says] of [
    [changed('limit?: number; ', ''), 'Options.limit: is gone'],
    [changed('one?: string', ''), 'Options.deep.one: is gone'],
    [changed("'a' | 'b'", "'a' | 'c'"), "Mode|'b': is gone"],
    [changed('mode(mode: Mode): void', ''), 'Client.mode: is gone'],
    [changed('export declare function make', 'declare function make'), 'make: is gone'],
    [changed('limit?: number', 'limit?: string'), 'Options.limit: was `number`, is `string`'],
    [changed('Promise<Answer>', 'Answer'), 'Client.ask: was `(…): Promise<Answer>`, is `(…): Answer`'],
    [changed('ask(question: string)', 'ask(question: number)'), 'Client.ask: takes other arguments'],
    [changed('ask(question: string)', 'ask(question: string, more: string)'), 'Client.ask: takes other arguments'],
  ]) {
    assert.deepEqual(changes(t, BEFORE, after).breaks, [says])
  }
})

test('what is only new is none', (t) => {
  for (const [after, says] of [
    [changed('limit?: number', 'limit?: number; more?: string'), 'Options.more: is new'],
    [changed('text: string', 'text: string; more: string'), 'Answer.more: is new'],
    [changed("'a' | 'b'", "'a' | 'b' | 'c'"), "Mode|'c': is new"],
    [changed('ask(question: string)', 'ask(question: string, more?: string)'), 'Client.ask: takes more'],
    [`${BEFORE} export declare const one: 1`, 'one: is new'],
  ]) {
    assert.deepEqual(changes(t, BEFORE, after), { breaks: [], additions: [says] })
  }
})

test('whether a member may be missing breaks those who read it, whether it must be given those who give it', (t) => {
  assert.deepEqual(changes(t, BEFORE, changed('url: string', 'url?: string')).breaks, [])
  assert.deepEqual(changes(t, BEFORE, changed('limit?: number', 'limit: number')).breaks, [
    'Options.limit: must be given',
  ])
  assert.deepEqual(changes(t, BEFORE, changed('limit?: number', 'limit?: number; more: string')).breaks, [
    'Options.more: is new and must be given',
  ])
  assert.deepEqual(changes(t, BEFORE, changed('text: string', 'text?: string')).breaks, ['Answer.text: may be missing'])
  assert.deepEqual(changes(t, BEFORE, changed('cost?: number', 'cost: number')).breaks, [])
})

test('a break is announced by its name in back quotes, or by that of what it is in', () => {
  const breaks = ['Options.limit', 'Options.deep.one', "Mode|'b'", 'Client.ask'].map((path) => ({
    file: 'it.d.ts',
    path,
    why: '',
  }))
  const silent = (words) => unannounced(breaks, words).map(({ path }) => path)
  assert.deepEqual(
    silent(''),
    breaks.map(({ path }) => path),
  )
  assert.deepEqual(silent('- `Options.limit` is now `limits`.'), ['Options.deep.one', "Mode|'b'", 'Client.ask'])
  assert.deepEqual(silent('- `Options.deep` and `Mode`; `Client.ask()` too.'), ['Options.limit'])
  assert.deepEqual(
    silent('- Options, Client'),
    breaks.map(({ path }) => path),
  )
})

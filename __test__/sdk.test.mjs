// The published SDKs over a client's fetch: the suites of `sdk/`, each in a process of its own under a Node that is new enough for it. What they show is the
// table of docs/sdks.md; `UPDATE_DOCS=1 node --test __test__/sdk.test.mjs` writes it anew.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { folder, sdksIfAny, versionOf } from '../scripts/sdks.mjs'
import { ROWS, SDKS } from './sdk/table.mjs'
import { root } from './support.mjs'

const page = join(root, 'docs/sdks.md')

const { node, missing } = sdksIfAny()

/** By suite: for each row, whether all that it promises is kept. */
const kept = {}

/** By suite: what becomes of its promises. All at once, since they wait for most of their time. */
const runs = new Map(missing ? [] : SDKS.map(({ suite }) => [suite, perform(suite)]))
for (const run of runs.values()) run.catch(() => {})

for (const { suite, title } of SDKS) {
  test(`${title} over a client's fetch`, { skip: missing }, async (t) => {
    const promises = await runs.get(suite)
    assert.ok(promises.length > 0)
    for (const { name, ok, skipped, reason } of promises) {
      await t.test(name, () => {
        assert.ok(ok, reason)
        assert.ok(!skipped, 'a suite skips nothing')
      })
    }
    kept[suite] = {}
    for (const { name, ok } of promises) {
      const row = name.slice(0, name.indexOf(':'))
      kept[suite][row] = ok && kept[suite][row] !== false
    }
  })
}

test('a client’s fetch is what the option of each takes, by its types', { skip: missing }, async () => {
  const { error, out } = await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder])
  assert.equal(error, null, out)
})

test('docs/sdks.md has the table of this run', { skip: missing }, () => {
  const [begin, end] = ['<!-- written by __test__/sdk.test.mjs -->\n', '<!-- to here -->']
  const text = readFileSync(page, 'utf8')
  const [before, rest] = text.split(begin)
  const after = rest.slice(rest.indexOf(end))
  const written = `${before}${begin}${table()}${after}`
  if (process.env.UPDATE_DOCS) writeFileSync(page, written)
  else assert.equal(text, written, 'UPDATE_DOCS=1 node --test __test__/sdk.test.mjs writes it anew')
})

/** Runs a suite; what became of its promises. */
async function perform(suite) {
  const { error, out } = await run(node, [
    `--test-reporter=${join(folder, 'reporter.mjs')}`,
    join(folder, `${suite}.mjs`),
  ])
  const lines = out.split('\n').filter((line) => line.startsWith('{"name"'))
  const promises = lines.map((line) => JSON.parse(line))
  // A suite that breaks off has no promises that failed.
  if (error && promises.every(({ ok }) => ok)) throw new Error(`${suite}: ${error.message}\n${out}`)
  return promises
}

/** A program to its end: its error, if it failed, and what it said. */
function run(program, args) {
  const env = { ...process.env, NODE_NO_WARNINGS: '1' }
  // A child of the test runner would report to it.
  delete env.NODE_TEST_CONTEXT
  const sdks = /^(OPENAI|ANTHROPIC|TRUNKLINE|LANGCHAIN|LANGSMITH)_/
  for (const name of Object.keys(env)) if (sdks.test(name)) delete env[name]
  const how = { cwd: folder, env, timeout: 300_000, maxBuffer: 1 << 26 }
  return new Promise((resolve) =>
    execFile(program, args, how, (error, ...texts) => resolve({ error, out: texts.join('') })),
  )
}

function table() {
  const cells = (texts) => `| ${texts.join(' | ')} |\n`
  const versions = ({ packages }) => packages.map((name) => `${name} ${versionOf(name)}`).join(', ')
  const said = { true: 'yes', false: '**no**', undefined: '–' }
  return [
    cells(['', ...SDKS.map(({ title }) => title)]),
    cells(['---', ...SDKS.map(() => '---')]),
    ...Object.entries(ROWS).map(([row, words]) => cells([words, ...SDKS.map(({ suite }) => said[kept[suite]?.[row]])])),
    `\nWith ${SDKS.map(versions).join('; ')}.\n`,
  ].join('')
}

// What the tests of jobs have in common: inputs, and what must hold of their results.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A folder that goes with the test, and the files of a job in it. */
export function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'trunkline-job-'))
  t?.after(() => rmSync(path, { recursive: true, force: true }))
  return {
    path,
    input: join(path, 'in.jsonl'),
    output: join(path, 'out.jsonl'),
    errors: join(path, 'out.errors.jsonl'),
    journal: join(path, 'out.jsonl.job'),
  }
}

export function request(id, body = {}) {
  const chat = { model: 'gpt-test', max_tokens: 4, messages: [{ role: 'user', content: id }], ...body }
  return { custom_id: id, method: 'POST', url: '/v1/chat/completions', body: chat }
}

export const ids = (count) => Array.from({ length: count }, (_, n) => `id-${n}`)

/** Requests, or lines as they are. */
export function write(file, lines) {
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line)))
  writeFileSync(file, `${text.join('\n')}\n`)
}

/** The results in a file, each of which is a whole line. */
export function read(file) {
  if (!existsSync(file)) return []
  const text = readFileSync(file, 'utf8')
  assert.ok(text === '' || text.endsWith('\n'), `${file} ends in a line that has no end`)
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

/** Every one of them is answered once, in one of the files. */
export function assertOnce(files, wanted) {
  const found = [...read(files.output), ...read(files.errors)].map(({ custom_id }) => custom_id)
  assert.equal(found.length, wanted.length)
  assert.deepEqual([...new Set(found)].sort(), [...wanted].sort())
}

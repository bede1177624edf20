// The sixteen faults of `npm run test:faults`, a tenth as long, and what else there is to say of them.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ContextLengthError, StreamInterruptedError } from 'trunkline'
import { performAll } from './faults/perform.mjs'
import { ANSWER, asked, call, FORTY, PAIRS, request, stage } from './faults/stage.mjs'
import { FAULTS } from './faults/table.mjs'
import { rejection } from './support.mjs'

const SPEED = 10
const t = (time) => time / SPEED
const CUT = { kind: 'cut', afterTokens: 40 }

async function staged(test, options) {
  const staged = await stage({ t, ...options })
  test.after(staged.close)
  return staged
}

describe('a call outlives', () => {
  // All at once: most of the time they wait.
  const results = performAll({ speed: SPEED })
  for (const { name, error } of FAULTS) {
    test(error ? `${name}: with a clean error, and nobody else asked` : name, async () => {
      const own = (await results).filter(({ fault }) => fault === name)
      assert.ok(own.length > 0)
      const told = own.flatMap(({ pair, way, broken }) => broken.map((what) => `${pair}, ${way}: ${what}`))
      assert.deepEqual(told, [])
    })
  }
})

for (const pair of PAIRS) {
  const between = `${pair.primary} → ${pair.backup}`

  test(`a prompt too long for one is not asked of another that takes no more, ${between}`, async (test) => {
    const targets = { primary: { maxInputTokens: 5 }, backup: { maxInputTokens: 5 } }
    const upstreams = { primary: { models: { 'primary-model': { maxInputTokens: 5 } } } }
    const { line, backup } = await staged(test, { pair, targets, upstreams })
    assert.ok((await rejection(line.chat(request))) instanceof ContextLengthError)
    assert.equal(backup.requests.length, 0)
  })

  test(`whoever broke goes on with its own answer, where it takes a prefill, ${between}`, async (test) => {
    const { line, primary, backup } = await staged(test, { pair, targets: { primary: { supportsPrefill: true } } })
    primary.fault(CUT)
    const { text, meta } = await call(line, 'continue')
    assert.equal(text, ANSWER)
    assert.equal(meta.provider, 'primary')
    assert.notEqual(asked(primary)[1].last, 'user')
    assert.deepEqual([primary.requests.length, backup.requests.length], [2, 0])
  })

  test(`who refuses to go on with its own answer is followed by another, ${between}`, async (test) => {
    const { line, primary, backup } = await staged(test, {
      pair,
      targets: { primary: { supportsPrefill: true } },
      upstreams: { primary: { prefill: false } },
    })
    primary.fault(CUT)
    const { text, meta } = await call(line, 'continue')
    assert.equal(text, ANSWER)
    assert.equal(meta.provider, 'backup')
    assert.deepEqual([primary.requests.length, backup.requests.length], [2, 1])
  })

  test(`where nobody takes a prefill, the text so far is not lost, ${between}`, async (test) => {
    const { line, primary, backup } = await staged(test, { pair, targets: { backup: { supportsPrefill: false } } })
    primary.fault(CUT, { times: 9 })
    const { error } = await call(line, 'continue')
    assert.ok(error instanceof StreamInterruptedError, error)
    assert.equal(error.partial.choices[0].message.content, FORTY)
    assert.deepEqual([primary.requests.length, backup.requests.length], [1, 0])
  })

  for (const way of ['restart', 'continue']) {
    test(`where all fail after a part was seen, the text so far is not lost, ${way}, ${between}`, async (test) => {
      const { line, primary, backup } = await staged(test, { pair })
      primary.fault(CUT)
      primary.fault({ kind: 'status', status: 503 }, { times: 9 })
      backup.fault({ kind: 'status', status: 503 }, { times: 9 })
      const { error } = await call(line, way)
      assert.ok(error instanceof StreamInterruptedError, error)
      assert.equal(error.partial.choices[0].message.content, FORTY)
      assert.match(error.message, /^backup answered 503 .*; a part of the answer had come before$/)
      assert.equal(error.billed, 'maybe')
      assert.equal(backup.requests.length, 3)
    })
  }

  // Deltas of five characters, each of which ends in white space.
  const spaced = Array.from({ length: 60 }, (_, n) => `w${String(n).padStart(2, '0')}:\n`).join('')
  for (const [what, content] of [
    ['says it again', undefined],
    ['leaves it out', spaced.slice(200)],
  ]) {
    test(`white space at the seam is there once, where who goes on ${what}, ${between}`, async (test) => {
      const { line, primary, backup } = await staged(test, {
        pair,
        replies: { primary: { content: spaced, chunks: 60 }, backup: { content: content ?? spaced } },
      })
      primary.fault(CUT)
      const { text } = await call(line, 'continue')
      assert.equal(text, spaced)
      assert.deepEqual([primary.requests.length, backup.requests.length], [1, 1])
    })
  }
}

// The options of `npm run bench`.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readOptions, UsageError } from '../../benchmark/options.mjs'

const there = { ids: ['chat', 'stream', 'pool'], names: ['undici', 'trunkline'], nodes: ['20', '22'] }
const read = (...args) => readOptions(args, there)

test('without options everything is measured, and nothing is replaced', () => {
  const { only, clients, rounds, seconds, node, smoke, write } = read()
  assert.deepEqual([only, clients], [there.ids, there.names])
  assert.deepEqual([rounds, seconds, node, smoke, write], [5, 2, undefined, false, false])
})

test('options say what is measured, and how long', () => {
  const options = read(
    '--only',
    'stream,chat',
    '--clients',
    'undici',
    '--rounds',
    '3',
    '--seconds',
    '0.5',
    '--node',
    '22',
  )
  assert.deepEqual(options.only, ['stream', 'chat'])
  assert.deepEqual(options.clients, ['undici'])
  assert.deepEqual([options.rounds, options.seconds, options.node], [3, 0.5, '22'])
})

const mistakes = [
  [['--only', 'chat,nonsense'], /^--only: there is no nonsense; there are chat, stream, pool$/],
  [['--only', ''], /^--only: there is no ''; there are chat, stream, pool$/],
  [['--clients', 'got'], /^--clients: there is no got; there are undici, trunkline$/],
  [['--rounds', '0'], /^--rounds: must be above 0, got 0$/],
  [['--rounds', '2.5'], /^--rounds: must be a whole number, got 2\.5$/],
  [['--rounds', 'many'], /^--rounds: must be above 0, got many$/],
  [['--seconds', 'Infinity'], /^--seconds: must be above 0, got Infinity$/],
  [['--node', '18'], /^--node: there is no 18; there are 20, 22$/],
  [['--write', '--only', 'chat'], /^--write: takes a whole run/],
  [['--write', '--smoke'], /^--write: takes a whole run/],
  [['--from', 'x.json', '--clients', 'undici'], /^--from: what was measured is shown as it is/],
  [['--from', 'x.json', '--node', '22'], /^--from: what was measured is shown as it is/],
  [['--fast'], /--fast/],
  [['chat'], /chat/],
]
for (const [args, message] of mistakes) {
  test(`refused: ${args.join(' ')}`, () => {
    assert.throws(
      () => read(...args),
      (error) => error instanceof UsageError && message.test(error.message),
    )
  })
}

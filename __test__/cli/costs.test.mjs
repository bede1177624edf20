// What a budget's file says, held against the client that wrote it; prices, against what the client charges.

import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { REQUEST, rejection, start, until } from '../support.mjs'
import { json, trunkline } from './run.mjs'

const pricing = { 'gpt-test': { input: 1000, output: 2000 } }
const usage = { prompt_tokens: 60, completion_tokens: 20, total_tokens: 80 }

/** A client with a budget whose state is in a file. */
async function budgeted(t) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-costs-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'budget.log')
  const budget = { limit: 100, window: 'day', perModel: { 'gpt-test': 90 }, perTenant: 50, state: file }
  const { upstream, line } = await start(t, { pricing, budget })
  upstream.reply({}, { content: 'hi', usage })
  return { folder, file, upstream, line }
}

const scope = ({ scopes }, kind, name = null) => scopes.find((row) => row.scope === kind && row.name === name)

test('a state file says by hour, day and month what the client has spent, while it runs and after', async (t) => {
  const { file, line } = await budgeted(t)
  for (const tenant of ['acme', 'acme', 'zeta']) await line.chat(REQUEST, { tenant })
  const spent = line.costs().total
  for (const close of [() => {}, () => line.close()]) {
    await close()
    const { code, data } = await json(['costs', file])
    assert.equal(code, 0)
    const all = scope(data, 'all')
    for (const window of ['hour', 'day', 'month']) assert.deepEqual([all[window].usd, all[window].tokens], [spent, 240])
    assert.equal(all.month.begins.slice(8, 19), '01T00:00:00')
    assert.deepEqual([scope(data, 'tenant', 'acme').day.usd, scope(data, 'tenant', 'zeta').day.usd], [0.2, 0.1])
    assert.equal(scope(data, 'model', 'gpt-test').day.usd, spent)
    assert.deepEqual([data.unreadableLines, data.callsUnderWay], [0, 0])
  }
  assert.deepEqual((await json(['costs', '--state', file])).data.scopes, (await json(['costs', file])).data.scopes)
})

test('what a call under way has spoken for is told', async (t) => {
  const { file, upstream, line } = await budgeted(t)
  upstream.fault({ kind: 'silence' })
  const leaves = new AbortController()
  const ended = rejection(line.chat(REQUEST, { signal: leaves.signal }))
  await until(() => upstream.requests.length === 1)
  const { data } = await json(['costs', file])
  assert.equal(data.callsUnderWay, 1)
  assert.ok(scope(data, 'all').spokenFor.usd > 0)
  assert.match((await trunkline(['costs', file])).out, /1 call is spoken for/)
  leaves.abort()
  await ended
})

test('a damaged file is told, counted as far as it can be read, and left as it is', async (t) => {
  const { folder, file, line } = await budgeted(t)
  await line.chat(REQUEST)
  await line.close()
  appendFileSync(file, '00000000 {"paid":{"usd":"5","tokens":1,"of":["all"]}}\n')
  // The last line may be torn: whoever wrote it did not live to end it.
  appendFileSync(file, '12345678 {"pa')
  const before = [readFileSync(file), statSync(file).mtimeMs, readdirSync(folder)]
  const { code, data } = await json(['costs', file])
  assert.deepEqual([code, data.unreadableLines, scope(data, 'all').day.usd], [1, 1, 0.1])
  assert.match((await trunkline(['costs', file])).out, /✗ 1 line cannot be read/)
  assert.deepEqual([readFileSync(file), statSync(file).mtimeMs, readdirSync(folder)], before)
})

test('a file that was cut short is told, by what its first line promises', async (t) => {
  const { folder } = await budgeted(t)
  const cut = join(folder, 'cut.log')
  writeFileSync(cut, '6dd75b05 {"begin":{"version":1,"lines":1}}\n12345678 {"before":{"of":"a')
  const { code, data } = await json(['costs', cut])
  assert.deepEqual([code, data.unreadableLines], [1, 1])
})

test('a file that is none, and one that is something else, end with 1', async (t) => {
  const { folder } = await budgeted(t)
  const missing = await trunkline(['costs', join(folder, 'none')])
  assert.deepEqual([missing.code, missing.out], [1, ''])
  assert.match(missing.err, /there is no such file/)
  const other = join(folder, 'other.txt')
  writeFileSync(other, 'hello\nworld\n')
  const { code, data } = await json(['costs', other])
  assert.deepEqual([code, data.error.code], [1, 'NO_STATE'])
})

test('the calculator comes to what the client charges for such a request', async (t) => {
  const cases = [
    ['gpt-4o', 1234, 1000, 567],
    ['gpt-4o-2024-08-06', 10, 0, 1],
    ['claude-haiku-4-5-20251001', 4321, 21, 99],
    ['gpt-5.5', 272_000, 5000, 10],
    // Beyond it all tokens are dearer.
    ['gpt-5.5', 272_001, 5000, 10],
    ['gemini-2.5-flash', 777, 0, 333],
  ]
  for (const [model, input, cached, output] of cases) {
    const { upstream, line } = await start(t, { pricing: { 'gpt-test': model } })
    const prompt_tokens_details = { cached_tokens: cached }
    upstream.reply(
      {},
      {
        content: 'hi',
        usage: { prompt_tokens: input, completion_tokens: output, total_tokens: input + output, prompt_tokens_details },
      },
    )
    const { meta } = await line.chat(REQUEST).withMeta()
    const tokens = ['--input-tokens', `${input}`, '--cached-tokens', `${cached}`, '--output-tokens', `${output}`]
    const { code, data } = await json(['costs', '--model', model, '--requests', '1', ...tokens])
    assert.equal(code, 0)
    assert.equal(data.cost.request, meta.cost, `${model} ${input}`)
  }
})

test('a month has thirty days, however the requests are told', async () => {
  const tokens = ['--input-tokens', '1000000', '--output-tokens', '0', '--input-price', '2', '--output-price', '3']
  const month = async (requests, per) =>
    (await json(['costs', '--requests', requests, '--per', per, ...tokens])).data.cost.month
  assert.deepEqual(
    [await month('1', 'day'), await month('1', 'hour'), await month('1', 'month'), await month('0.5', 'minute')],
    [60, 1440, 2, 43_200],
  )
})

test('the table of prices says of each row where it is from and when that was looked at', async () => {
  const { code, data } = await json(['costs', '--prices'])
  assert.equal(code, 0)
  assert.ok(data.models.length > 20)
  for (const { name, source, checked } of data.models)
    assert.match(`${name} ${source} ${checked}`, /^\S+ https:\/\/\S+ \d{4}-\d\d-\d\d$/)
  const unknown = await trunkline(['costs', '--prices', 'no-such-model'])
  assert.deepEqual([unknown.code, unknown.out], [1, ''])
  assert.match(unknown.err, /no price is known of 'no-such-model'/)
})

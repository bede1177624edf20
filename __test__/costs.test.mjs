// What is spent, held against what the stand-in was told to report; and what may be.

import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { BudgetExceededError, ConfigError, TrunklineError } from 'trunkline'
import money from '../lib/money.js'
import { client, REQUEST, rejection, start, until } from './support.mjs'

const { savingsReport } = money
const pricing = { 'gpt-test': { input: 1000, cachedInput: 100, output: 2000 } }
// 50 × 0.001 + 10 × 0.0001 + 20 × 0.002
const usage = {
  prompt_tokens: 60,
  completion_tokens: 20,
  total_tokens: 80,
  prompt_tokens_details: { cached_tokens: 10 },
}
const COST = 0.091

async function priced(t, options = {}) {
  const { upstream, line } = await start(t, { pricing, ...options })
  upstream.reply({}, { content: 'hi', usage })
  return { upstream, line }
}

/** What a function throws, and the message of it. */
function thrown(run) {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.message
  }
  throw new Error('expected it to throw')
}

test('a call tells what it cost, and the sums are those of the calls', async (t) => {
  const { line } = await priced(t)
  const { meta } = await line.chat(REQUEST, { tenant: 'acme' }).withMeta()
  assert.deepEqual([meta.cost, meta.usageEstimated], [COST, false])
  const stream = line.stream(REQUEST)
  await stream.finalText()
  assert.equal((await stream.meta).cost, COST)
  const report = line.costs()
  assert.deepEqual([report.total, report.currency, report.estimated, report.unpriced], [0.182, 'USD', 0, []])
  assert.deepEqual(report.byModel['gpt-test'], {
    requests: 2,
    inputTokens: 120,
    cachedInputTokens: 20,
    cacheWriteTokens: 0,
    outputTokens: 40,
    reasoningTokens: 0,
    cost: 0.182,
    estimated: 0,
    unpriced: 0,
  })
  assert.deepEqual([report.byProvider, report.byTenant], [{ default: 0.182 }, { acme: COST }])
  assert.equal(line.metrics().cost, 0.182)
  assert.equal(line.metrics().tokens.perSecond > 0, true)
  assert.equal(line.costs({ window: 'month', before: true }).total, 0)
  await line.close()
  assert.equal(line.costs().total, 0.182)
})

test('a report is a text for people too', async (t) => {
  const { line } = await priced(t, { budget: { limit: 1, window: 'month', perTenant: 0.5 } })
  for (const tenant of ['acme', 'zeta']) await line.chat({ ...REQUEST, max_tokens: 20 }, { tenant })
  assert.deepEqual(Object.keys(line.costs()).includes('toString'), false)
  const [first, model, ...rest] = String(line.costs()).split('\n')
  assert.equal(first, '$0.18 since the client was made')
  assert.match(model, /^ {2}gpt-test +\$0\.18 +2 requests +120 in +40 out$/)
  assert.deepEqual(rest.slice(0, 3), ['by tenant', '  acme  $0.091000', '  zeta  $0.091000'])
  assert.match(rest[3], /^budget: \$0\.18 of \$1\.00 \(18\.2 %\) a month, until \d{4}-\d\d-01T00:00:00\.000Z$/)
  assert.match(rest[4], /^budget of the tenant acme: \$0\.091000 of \$0\.50 \(18\.2 %\) a month/)
})

test('what has no price is null, listed, and said so in the text', async (t) => {
  const { line } = await start(t)
  const { meta } = await line.chat(REQUEST).withMeta()
  assert.equal(meta.cost, null)
  assert.deepEqual(line.costs().unpriced, ['gpt-test'])
  assert.match(String(line.costs()), /gpt-test +no price +1 request [\s\S]*no price is known of: gpt-test$/)
})

test('a batch tells what it has cost by then', async (t) => {
  const { line } = await priced(t)
  const told = []
  const batch = line.batch(Array(10).fill(REQUEST), { onProgress: ({ cost }) => told.push(cost) })
  await batch
  assert.equal(Math.abs(batch.progress.cost - 10 * COST) < 1e-12, true)
  assert.equal(told.length, 10)
  assert.equal(told.at(-1), batch.progress.cost)
})

test('savings are what the client has measured, and a projection of it', async (t) => {
  const { line } = await priced(t)
  for (let n = 0; n < 5; n++) await line.chat(REQUEST)
  const report = line.savings({ hourlyCost: 36 })
  const { pool, cost } = line.metrics()
  assert.equal(report.handshakesAvoided, pool.reused)
  assert.equal(report.handshakesAvoided, 4)
  assert.deepEqual([report.timeSaved, report.cost], [pool.handshakeTimeSaved, cost])
  assert.deepEqual([report.requestsSaved, report.costSaved], [0, 0])
  // A cent a second.
  assert.equal(Math.abs(report.timeValue - report.timeSaved / 100_000) < 1e-12, true)
  assert.equal(report.perMonth, null, 'of less than a minute there is no rate')
  assert.equal('timeValue' in line.savings(), false)
  const text = String(report).split('\n')
  assert.match(text[0], /^in .* this client has saved \(a rate is told from a minute on\)$/)
  assert.match(text[1], /^ {2}handshakes +4$/)
  assert.match(text.at(-1), /^ {2}and has spent +\$0\.46$/)
})

test('from the first minute on savings are projected, in figures and as a text', () => {
  const figures = { handshakesAvoided: 4, timeSaved: 36_000, requestsSaved: 0, costSaved: 0, cost: 0.5 }
  const perMonth = { ...figures, handshakesAvoided: 172_800, timeSaved: 3_600_000, cost: 21_600 }
  const told = JSON.stringify({ uptime: 60_000, handshake: 9, ...figures, perMonth })
  const report = savingsReport(told, { hourlyCost: 36 })
  assert.deepEqual([report.timeValue, report.perMonth.timeValue], [0.36, 36])
  const text = String(report).split('\n')
  assert.match(text[0], /^in .* this client has saved, and at this rate in 30 days$/)
  assert.match(text[1], /^ {2}handshakes +4 +172,800$/)
  assert.match(text.at(-1), /^ {2}and has spent +\$0\.50 +\$21600\.00$/)
})

test('a call beyond the budget is refused with an error that says how it stands, and told of before', async (t) => {
  const { upstream, line } = await priced(t, { budget: { limit: 0.23, alertAt: [0.5, 1] } })
  const told = []
  line.on('budget', (event) => told.push(event))
  const request = { ...REQUEST, max_tokens: 20 }
  await line.chat(request)
  await line.chat(request)
  const error = await rejection(line.chat(request))
  assert.ok(error instanceof BudgetExceededError && error instanceof TrunklineError)
  assert.deepEqual([error.code, error.billed, error.retryable], ['ERR_BUDGET_EXCEEDED', 'no', false])
  assert.deepEqual([error.limit, error.spent, error.reserved, error.unit], [0.23, 0.182, 0, 'usd'])
  assert.deepEqual([error.scope, error.subject, error.window], ['all', null, 'month'])
  assert.equal(error.resetsAt > Date.now(), true)
  assert.match(
    error.message,
    /^the budget of \$0\.23 a month does not suffice: \$0\.18 spent; this call is reckoned at \$0\./,
  )
  assert.match(error.message, / tokens in and 20 out: lower its max_tokens, or raise the limit$/)
  assert.equal(error.asked > 0.04, true)
  assert.equal(upstream.requests.length, 2)
  await until(() => told.length === 2)
  assert.deepEqual(
    told.map(({ share, limit, spent, scope, name }) => [share, limit, spent, scope, name]),
    [
      [0.5, 0.23, 0.182, 'all', null],
      // It is as good as used up.
      [1, 0.23, 0.182, 'all', null],
    ],
  )
})

test('what was spent outlives the client, and a damaged file is set aside and told of', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'trunkline-costs-'))
  t.after(() => rm(folder, { recursive: true }))
  const state = join(folder, 'budget.log')
  const { upstream, line } = await priced(t, { budget: { limit: 5, state } })
  await line.chat(REQUEST)
  const other = client(t, upstream, { pricing, budget: { limit: 9, state } })
  await other.chat(REQUEST)
  assert.deepEqual([line.costs().budget.spent, other.costs().budget.limit], [0.182, 9])
  assert.equal(line.costs().budget.problem, null)

  const damaged = join(folder, 'damaged.log')
  await writeFile(damaged, 'not a state\n')
  const warnings = []
  const onWarning = (warning) => warnings.push(warning)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const third = client(t, upstream, { pricing, budget: { limit: 5, state: damaged } })
  await until(() => warnings.length === 1)
  assert.equal(warnings[0].code, 'TRUNKLINE_BUDGET_STATE')
  assert.equal(third.costs().budget.problem, warnings[0].message)
  const aside = (await readdir(folder)).find((name) => name.startsWith('damaged.log.corrupt-'))
  assert.equal(await readFile(join(folder, aside), 'utf8'), 'not a state\n')
})

test('bad prices, budgets and windows are refused by their paths', async (t) => {
  const { upstream, line } = await start(t)
  for (const [options, message] of [
    [{ pricing: { m: { input: -1, output: 1 } } }, /^pricing\.m\.input: must be a number of 0 or more, got -1$/],
    [{ pricing: { m: { input: NaN, output: 1 } } }, /^pricing\.m\.input: must be a number of 0 or more, got NaN$/],
    [{ pricing: { m: { output: 1 } } }, /^pricing\.m\.input: must be given, in dollars for a million tokens$/],
    [
      { pricing: { m: 'gpt-9' } },
      /^pricing\.m: must be a price, or a model of the built-in table, which has no "gpt-9"$/,
    ],
    [{ budget: { limit: 0 } }, /^budget\.limit: must be a number above 0, got 0$/],
    [{ budget: { limit: Infinity } }, /^budget\.limit: must be a number above 0, got Infinity$/],
    [{ budget: {} }, /^budget\.limit: must be given, or tokens, perModel or perTenant$/],
    [{ budget: { limit: 1, window: 'week' } }, /^budget\.window: must be one of 'hour', 'day', 'month', got 'week'$/],
    [{ limit: 1 }, /^limit: is not an option; did you mean budget\.limit\?$/],
    [{ budget: { limit: 1, state: '/no/such/folder/b' } }, /^budget\.state: \/no\/such\/folder\/b cannot be opened: /],
  ]) {
    assert.match(
      thrown(() => client(t, upstream, options)),
      message,
    )
  }
  assert.match(
    thrown(() => line.costs({ window: 'week' })),
    /^window: must be one of 'hour', 'day', 'month', 'all', got 'week'$/,
  )
  assert.match(
    thrown(() => line.costs({ before: true })),
    /^before: needs a window/,
  )
  assert.match(
    thrown(() => line.savings({ hourlyCost: -1 })),
    /^hourlyCost: must be a number of 0 or more, got -1$/,
  )
})

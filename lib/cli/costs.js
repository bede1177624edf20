'use strict'

/** `trunkline costs`: what a budget's file says was spent, list prices, and what a month would cost. */

const { UsageError, failure } = require('./args.js')
const { textOf } = require('./files.js')
const { PICOS, priceOf, requestCost, rows } = require('./prices.js')
const { count, dollars, many, plain } = require('./screen.js')
const { WINDOWS, beginOf, numbersAt, readState } = require('./state.js')

/** How often each is in the thirty days of a month. @type {Record<string, number>} */
const IN_MONTH = { second: 30 * 86_400, minute: 30 * 1440, hour: 30 * 24, day: 30, month: 1 }
const MOST_TOKENS = 1e9

const command = {
  name: 'costs',
  summary: "what was spent by a budget's state file, list prices, and what a month would cost",
  usage: ['costs FILE', 'costs --prices [MODEL]', 'costs --model NAME --requests N --input-tokens N --output-tokens N'],
  about:
    'A FILE is that of budget.state: it is only read, also while a client writes it. Windows are of the calendar in UTC. Prices are the built-in list prices in US dollars for a million tokens; an estimate by them is no bill.',
  positionals: /** @type {[number, number]} */ ([0, 1]),
  options: /** @type {Record<string, import('./args.js').Option>} */ ({
    state: { type: 'text', value: 'FILE', about: 'the same as FILE' },
    prices: { type: 'flag', about: 'the built-in table, or a row of it' },
    model: { type: 'text', value: 'NAME', about: 'whose price is taken' },
    requests: { type: 'number', value: 'N', about: 'how many are made' },
    per: {
      type: 'text',
      value: 'SPAN',
      of: Object.keys(IN_MONTH),
      about: 'in a second, minute, hour, day or month. Default day',
    },
    'input-tokens': { type: 'integer', value: 'N', most: MOST_TOKENS, about: 'of one request, all that goes in' },
    'cached-tokens': {
      type: 'integer',
      value: 'N',
      most: MOST_TOKENS,
      about: "of them, read from the provider's cache. Default 0",
    },
    'output-tokens': { type: 'integer', value: 'N', most: MOST_TOKENS, about: 'of one answer' },
    'input-price': {
      type: 'number',
      value: 'USD',
      about: "for a million tokens, in place of the table's; with --output-price",
    },
    'output-price': { type: 'number', value: 'USD', about: 'for a million tokens' },
  }),
  examples: /** @type {[string, string][]} */ ([
    ['costs /var/lib/app/budget.log', 'what was spent in this hour, day and month'],
    ['costs --prices gpt-4o', 'what a model costs, and where that is from'],
    [
      'costs --model gpt-4o --requests 10000 --input-tokens 1200 --output-tokens 300',
      '10,000 requests a day, for a month',
    ],
  ]),
  exits: 'the file cannot be read, or not all of it; no price is known of the model',
}

/** @param {any} context */
async function run({ values, positionals, screen }) {
  const now = new Date()
  const isEstimate = ['requests', 'input-tokens', 'output-tokens', 'model'].some((name) => values[name] !== undefined)
  const file = values.state ?? (values.prices ? undefined : positionals[0])
  const asked = [file !== undefined, values.prices === true, isEstimate].filter(Boolean).length
  if (asked !== 1) throw wrong('one of FILE, --prices and --model is needed')
  if (values.state !== undefined && positionals.length > 0)
    throw wrong('--state and FILE are the same: give one of them')
  if (values.prices) return prices(positionals[0], now, screen)
  return isEstimate ? estimate(values, now, screen) : state(file, now, screen)
}

/** @param {string} message */
function wrong(message) {
  return Object.assign(new UsageError(message), { command: 'costs' })
}

/** @param {string} file @param {Date} now @param {import('./screen.js').Terminal} screen */
function state(file, now, screen) {
  const { rows, unreadable, begun, open } = readState(textOf(file))
  if (!begun && rows.size === 0) throw failure('NO_STATE', `${file} is no state file of a budget`)
  const current = numbersAt(now.getTime())
  const scopes = [...rows]
    .map(([of, row]) => scopeOf(of, row, current))
    .sort((one, other) => order(one).localeCompare(order(other)))
  const data = { file, at: now.toISOString(), scopes, callsUnderWay: open, unreadableLines: unreadable }

  screen.say(`${screen.title('Spent')} by ${file}, ${data.at.slice(0, 16).replace('T', ' ')} UTC`)
  screen.say()
  const amount = (/** @type {any} */ spent) =>
    spent.usd === 0 && spent.tokens === 0 ? '–' : `${dollars(spent.usd)}  ${count(spent.tokens)} tok`
  const cells = scopes.map((scope) => [
    scope.name === null ? 'all' : `${scope.scope} ${plain(scope.name, 40)}`,
    ...WINDOWS.map((window) => amount(scope[window].isCurrent ? scope[window] : { usd: 0, tokens: 0 })),
    amount(scope.spokenFor),
  ])
  for (const line of screen.table([['', 'this hour', 'today', 'this month', 'spoken for'], ...cells])) screen.say(line)
  const last = scopes.find(({ scope }) => scope === 'all')
  if (last && !last.day.isCurrent && last.day.usd + last.day.tokens > 0) {
    screen.say()
    screen.say(`The last day with calls was ${last.day.begins.slice(0, 10)}: ${amount(last.day)}.`)
  }
  if (open > 0) {
    screen.say()
    screen.say(
      screen.wrap(
        `${many(open, 'call')} ${open === 1 ? 'is' : 'are'} spoken for: under way, or of a process that was killed, and then spent once a client opens the file.`,
      ),
    )
  }
  if (unreadable > 0) {
    screen.say()
    screen.say(
      `${screen.paint('red', '✗')} ${screen.wrap(`${many(unreadable, 'line')} cannot be read, and what they say is missing above. A client that opens the file sets it aside and goes on with the rest.`, 2)}`,
    )
  }
  return { ok: unreadable === 0, data }
}

/** @param {string} of @param {any} row @param {Record<string, number>} current */
function scopeOf(of, row, current) {
  const [kind, ...name] = of.split(':')
  const shown = (/** @type {any} */ { usd, tokens }) => ({ usd: Number(usd) / PICOS, tokens: Number(tokens) })
  const windows = WINDOWS.map((window) => {
    const { number, amount } = row.windows[window]
    // A clock that was set back does not begin a window anew.
    return [
      window,
      { begins: beginOf(window, number).toISOString(), isCurrent: number >= current[window], ...shown(amount) },
    ]
  })
  return /** @type {any} */ ({
    scope: kind,
    name: name.length > 0 ? name.join(':') : null,
    ...Object.fromEntries(windows),
    spokenFor: shown(row.held),
  })
}

/** All, then models, then tenants. @param {any} scope */
function order({ scope, name }) {
  return `${['all', 'model', 'tenant'].indexOf(scope)} ${name}`
}

/** @param {string | undefined} model @param {Date} now @param {import('./screen.js').Terminal} screen */
function prices(model, now, screen) {
  const found = model === undefined ? rows(now) : [known(model, now)]
  const price = (/** @type {number | undefined} */ dollars) => (dollars === undefined ? '' : String(dollars))
  const cells = found.map((row) => [
    row.name,
    row.vendor,
    ...[row.input, row.cachedInput, row.cacheWrite, row.output].map(price),
    row.above ? `${price(row.above.input)} / ${price(row.above.output)} above ${count(row.above.tokens)}` : '',
    row.checked,
  ])
  screen.say(screen.title('List prices in US dollars for a million tokens'))
  const heads = ['model', 'vendor', 'input', 'cached', 'cache write', 'output', 'long prompts', 'checked']
  for (const line of screen.table([heads, ...cells])) screen.say(line)
  if (model !== undefined) screen.say(`\n  ${screen.paint('dim', found[0].source)}`)
  return { ok: true, data: { currency: 'USD', perTokens: 1_000_000, models: found } }
}

/** @param {string} model @param {Date} now */
function known(model, now) {
  const row = priceOf(model, now)
  if (row) return row
  throw failure(
    'NO_PRICE',
    `no price is known of '${plain(model)}'. Give it by --input-price and --output-price; costs --prices has the table.`,
  )
}

/** @param {Record<string, any>} values @param {Date} now @param {import('./screen.js').Terminal} screen */
function estimate(values, now, screen) {
  const {
    requests,
    per = 'day',
    'input-tokens': input,
    'output-tokens': output,
    'cached-tokens': cachedInput = 0,
  } = values
  for (const name of ['requests', 'input-tokens', 'output-tokens'])
    if (values[name] === undefined) throw wrong(`--${name} is needed`)
  if (cachedInput > input) throw wrong(`--cached-tokens: must be at most --input-tokens (${input}), got ${cachedInput}`)
  const price = priceFor(values, now)
  const one = requestCost(price, { input, cachedInput, output })
  const inMonth = requests * IN_MONTH[per]
  const perRequest = Number(one) / PICOS
  const data = {
    model: values.model ?? null,
    price,
    requests: { count: requests, per, month: inMonth },
    tokens: { input, cachedInput, output },
    cost: {
      request: perRequest,
      day: (perRequest * inMonth) / 30,
      month: perRequest * inMonth,
      year: (perRequest * inMonth * 365) / 30,
    },
    isEstimate: true,
  }
  screen.say(
    `${screen.title('Estimate')} for ${values.model ?? 'the given price'}, ${many(requests, 'request')} a ${per}, ${count(input)} tokens in and ${count(output)} out each`,
  )
  screen.say()
  const spans = [
    ['', 'requests', 'US dollars'],
    ['a request', '1', dollars(data.cost.request)],
    ['a day', count(inMonth / 30), dollars(data.cost.day)],
    ['a month of 30 days', count(inMonth), dollars(data.cost.month)],
    ['a year', count((inMonth * 365) / 30), dollars(data.cost.year)],
  ]
  for (const line of screen.table(spans)) screen.say(line)
  screen.say()
  const source = price.source ? `list price, checked ${price.checked}: ${price.source}` : 'the given price'
  screen.say(
    screen.wrap(`By ${source}. Without discounts, taxes, retries, or what is charged by something else than tokens.`),
  )
  return { ok: true, data }
}

/** @param {Record<string, any>} values @param {Date} now */
function priceFor(values, now) {
  const { 'input-price': input, 'output-price': output, model } = values
  if ((input === undefined) !== (output === undefined)) throw wrong('--input-price and --output-price belong together')
  if (input !== undefined) return { input, output }
  if (model === undefined) throw wrong('--model is needed, or --input-price and --output-price')
  return known(model, now)
}

module.exports = { command, run }

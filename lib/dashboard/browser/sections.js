'use strict'

/**
 * What the cards show, each of its own figures. Its text is sent, as `../browser.js` says.
 * @param {ReturnType<typeof import('./words.js').words>} words @param {ReturnType<typeof import('./elements.js').elements>} elements
 */
function sections({ count, percent, dollars, time, plural, clock }, { el, figure, table, empty, pill, meter }) {
  const PARTS = [
    ['queued', 'waiting in line', '--queued'],
    ['connecting', 'connecting', '--connecting'],
    ['retried', 'failed attempts and pauses', '--retried'],
    ['firstByte', 'first byte', '--first'],
    ['rest', 'the rest of the answer', '--rest'],
  ]

  /** @param {any[]} models */
  function slow(models) {
    if (models.length === 0) return [empty('No call has ended in the last minutes.')]
    const longest = Math.max(...models.map(({ mean }) => mean))
    const calls = models.reduce((sum, { calls }) => sum + calls, 0)
    const legend = PARTS.map(([part, name, color]) => {
      const mean = models.reduce((sum, model) => sum + model[part] * model.calls, 0) / calls
      return el('li', {}, el('i', { class: 'key', style: { color: `var(${color})` } }), name, el('b', {}, time(mean)))
    })
    const rows = models.map((model) => {
      const words = PARTS.map(([part, name]) => `${name} ${time(model[part])}`).join(', ')
      const bars = PARTS.filter(([part]) => model[part] > 0).map(([part, name, color]) =>
        el('i', {
          title: `${name}: ${time(model[part])}`,
          style: { color: `var(${color})`, flex: `${model[part]} 0 0` },
        }),
      )
      const failed = model.failed > 0 ? `, ${count(model.failed)} failed` : ''
      return el(
        'div',
        {},
        el(
          'div',
          { class: 'name', title: model.name },
          model.name,
          el('small', {}, `${plural(model.calls, 'call')}${failed}`),
        ),
        el(
          'div',
          {
            class: 'bar',
            role: 'img',
            'aria-label': `${model.name}: ${words}`,
            style: { width: `${Math.max(1, (model.mean / longest) * 100)}%` },
          },
          ...bars,
        ),
        el('div', { class: 'mean', title: `the longest took ${time(model.longest)}` }, time(model.mean)),
      )
    })
    return [el('ul', { class: 'legend' }, ...legend), el('div', { class: 'slow' }, ...rows)]
  }

  /** @param {any} advice @param {any} pool */
  function larger(advice, { connections }) {
    const { active, idle, connecting, draining, peak, max } = connections
    const busy = active + connecting
    return [
      el('p', { class: 'verdict' }, advice.title),
      el('p', { class: 'words' }, advice.text),
      meter(
        'Connections in use',
        figure('pool.connections.active', active, `${count(busy)} of ${count(max)}`),
        busy / max,
        `${count(idle)} idle, ${count(connecting)} connecting, ${count(draining)} closing; ${count(peak)} open at most so far`,
      ),
    ]
  }

  /** @param {any} costs */
  function spend({ today, yesterday, month }) {
    const sum = (/** @type {string} */ name, /** @type {string} */ label, /** @type {any} */ report) =>
      el(
        'div',
        {},
        el('span', {}, label),
        el('b', {}, figure(`costs.${name}`, report.total, dollars(report.total))),
        el('span', {}, report.estimated > 0 ? `${dollars(report.estimated)} estimated` : 'as reported'),
      )
    const sums = el(
      'div',
      { class: 'sums' },
      sum('yesterday', 'Yesterday (UTC)', yesterday),
      sum('today', 'Today', today),
      sum('month', 'This month', month),
    )
    if (month.models.length + yesterday.models.length === 0) return [sums, empty('Nothing has been spent this month.')]
    const names = new Set(
      [month, yesterday, today].flatMap(({ models }) => models.map((/** @type {any} */ { name }) => name)),
    )
    const modelOf = (/** @type {any} */ report, /** @type {string} */ name) =>
      report.models.find((/** @type {any} */ model) => model.name === name)
    const cost = (/** @type {any} */ model) =>
      model === undefined
        ? el('span', { class: 'dim' }, '–')
        : model.unpriced === model.requests
          ? el('span', { class: 'dim' }, 'no price')
          : dollars(model.cost)
    const rows = [...names].map((name) => [
      name,
      cost(modelOf(yesterday, name)),
      cost(modelOf(today, name)),
      cost(modelOf(month, name)),
      ...['requests', 'inputTokens', 'outputTokens'].map((what) => count(modelOf(month, name)?.[what] ?? 0)),
    ])
    const more = month.more > 0 ? [empty(`and ${plural(month.more, 'more model')}`)] : []
    const unpriced = month.unpriced.length > 0 ? [empty(`No price is known of: ${month.unpriced.join(', ')}.`)] : []
    return [
      sums,
      table('Spending by model', ['Model', 'Yesterday', 'Today', 'Month', 'Requests', 'Tokens in', 'out'], rows),
      ...more,
      ...unpriced,
    ]
  }

  /** @param {any} budget @param {any} savings */
  function money(budget, savings) {
    const rows = (budget?.limits ?? []).slice(0, 12).map((/** @type {any} */ limit) => {
      const amount =
        limit.unit === 'usd' ? dollars : (/** @type {number} */ n) => `${count(n)} ${n === 1 ? 'token' : 'tokens'}`
      const whose = limit.name === null ? `All calls, a ${limit.window}` : `${limit.name}, a ${limit.window}`
      const reserved = limit.reserved > 0 ? `${amount(limit.reserved)} spoken for; ` : ''
      const resets =
        limit.resetsAt - Date.now() > 86_400_000 ? new Date(limit.resetsAt).toLocaleDateString() : clock(limit.resetsAt)
      return meter(
        whose,
        figure(`budget.${limit.name ?? 'all'}`, limit.spent, `${amount(limit.spent)} of ${amount(limit.limit)}`),
        limit.spent / limit.limit,
        `${reserved}anew at ${resets}`,
      )
    })
    const problem = budget?.problem ? [el('p', { class: 'empty' }, budget.problem)] : []
    const pair = el(
      'div',
      { class: 'pair' },
      el(
        'div',
        {},
        el('b', {}, figure('savings.handshakesAvoided', savings.handshakesAvoided, count(savings.handshakesAvoided))),
        el('span', {}, `handshakes avoided: ${time(savings.timeSaved)} of waiting`),
      ),
      el(
        'div',
        {},
        el('b', {}, figure('savings.costSaved', savings.costSaved, dollars(savings.costSaved))),
        el('span', {}, `not spent, by ${plural(savings.requestsSaved, 'request')} saved`),
      ),
    )
    return [...(rows.length > 0 ? rows : [empty('No budget is set.')]), ...problem, pair]
  }

  /** @param {any} pool */
  function origins({ origins, closed }) {
    if (origins.length === 0) return [empty('No connection yet.')]
    const rows = origins.slice(0, 50).map((/** @type {any} */ one) => {
      const of = [one.provider, one.tenant, one.lane].filter((part) => part !== null).join(', ')
      const requests = one.opened + one.reused
      return [
        el('span', { title: one.origin }, one.origin, of === '' ? null : el('span', { class: 'dim' }, ` ${of}`)),
        one.protocol === null ? '–' : pill(one.protocol === 'h2' ? 'HTTP/2' : 'HTTP/1.1', ''),
        count(one.active),
        count(one.idle),
        one.waiting > 0 ? pill(count(one.waiting), 'warn') : '0',
        count(one.streams),
        count(one.opened),
        count(one.reused),
        requests === 0 ? '–' : percent(one.reused / requests),
      ]
    })
    const reasons = {
      clockJump: 'after sleep',
      idle: 'idle too long',
      age: 'too old',
      server: 'by the server',
      evicted: 'to make room for another origin or caller',
      error: 'broken',
    }
    const whys = Object.entries(closed)
      .filter(([, n]) => n > 0)
      .sort(([, one], [, other]) => other - one)
      .map(([why, n]) => `${count(n)} ${/** @type {Record<string, string>} */ (reasons)[why] ?? why}`)
    return [
      table(
        'Connections by origin',
        ['Origin', 'Speaks', 'Busy', 'Idle', 'Waiting', 'Streams', 'Opened', 'Reused', 'Rate'],
        rows,
      ),
      ...(whys.length > 0 ? [el('p', { class: 'empty' }, `Closed so far: ${whys.join(', ')}.`)] : []),
    ]
  }

  /** @param {any} queue */
  function queue({ depth, wait, turns, refused }) {
    const names = ['critical', 'interactive', 'batch', 'background']
    const most = Math.max(1, ...names.map((name) => depth[name]))
    const line = (/** @type {string} */ name) => [
      el('span', {}, name),
      el(
        'div',
        { class: 'meter', 'aria-hidden': 'true' },
        el('i', { style: { width: `${(depth[name] / most) * 100}%` } }),
      ),
      figure(`queue.depth.${name}`, depth[name], count(depth[name])),
    ]
    return [
      el('div', { class: 'lines' }, ...names.flatMap(line)),
      el(
        'div',
        { class: 'pair' },
        el('div', {}, el('b', {}, time(turns.p90)), el('span', {}, `p90 of ${plural(turns.count, 'wait')} for a turn`)),
        el('div', {}, el('b', {}, time(wait.p90)), el('span', {}, `p90 for a connection; ${count(refused)} refused`)),
      ),
    ]
  }

  /** @param {any} metrics */
  function spread({ latency, firstByte, queue, pool }) {
    const rows = [
      ['Whole call', 'latency', latency],
      ['First byte', 'firstByte', firstByte],
      ['Wait for a turn', 'queue.turns', queue.turns],
      ['Wait for a connection', 'queue.wait', queue.wait],
      ['Handshake', 'pool.handshake', pool.handshake],
    ].map(([label, name, histogram]) => [
      label,
      ...['p50', 'p90', 'p99', 'max'].map((part) =>
        histogram.count === 0
          ? el('span', { class: 'dim' }, '–')
          : figure(`${name}.${part}`, histogram[part], time(histogram[part])),
      ),
      el('span', { class: 'dim' }, figure(`${name}.count`, histogram.count, count(histogram.count))),
    ])
    return [table('How long things take', ['', 'p50', 'p90', 'p99', 'most', 'count'], rows)]
  }

  /** @param {any} metrics */
  function circuits({ circuits, limits }) {
    /** @type {Record<string, string>} */
    const level = { closed: 'good', 'half-open': 'warn', open: 'bad' }
    const names = [...new Set([...Object.keys(circuits), ...Object.keys(limits)])]
    if (names.length === 0) return [empty('No provider has been asked yet.')]
    const rank = (/** @type {string} */ name) =>
      circuits[name] === undefined || circuits[name].state === 'closed' ? 1 : 0
    const rows = names
      .sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1))
      .slice(0, 60)
      .map((name) => {
        const circuit = circuits[name]
        const limit = limits[name]
        const left = (/** @type {number | null | undefined} */ n) =>
          n === null || n === undefined ? el('span', { class: 'dim' }, '–') : count(n)
        return [
          name,
          circuit === undefined ? '–' : pill(circuit.state, level[circuit.state] ?? 'warn'),
          circuit === undefined ? '–' : count(circuit.failures),
          left(limit?.requestsRemaining),
          left(limit?.tokensRemaining),
          limit === undefined
            ? el('span', { class: 'dim' }, '–')
            : limit.throttled > 0
              ? pill(count(limit.throttled), 'warn')
              : '0',
        ]
      })
    return [table('Circuits and limits', ['', 'Circuit', 'Failures', 'Calls left', 'Tokens left', '429s'], rows)]
  }

  /** @param {any[]} errors */
  function failures(errors) {
    if (errors.length === 0) return [empty('None since the dashboard is there.')]
    const rows = errors.map(({ at, name, code, message, provider, model, status, attempts, operation }) => {
      const where = [
        operation,
        [provider, model].filter(Boolean).join('/'),
        status === null ? null : `status ${status}`,
        attempts > 0 ? plural(attempts, 'attempt') : null,
      ]
      return el(
        'li',
        {},
        el('time', { class: 'dim', datetime: new Date(at).toISOString() }, clock(at)),
        el('span', {}, pill(code ?? name, code === null ? '' : 'bad')),
        el('div', { class: 'text' }, message, el('small', {}, where.filter(Boolean).join(' · '))),
      )
    })
    return [el('ul', { class: 'errors', tabindex: 0, 'aria-label': 'Last errors' }, ...rows)]
  }

  return { slow, larger, spend, money, origins, queue, spread, circuits, failures }
}

module.exports = { sections }

'use strict'

/**
 * What runs on the page. Its text is sent as it stands, and so are those of what it is given, so that none uses anything from outside itself.
 * Whatever comes from figures (models and messages may be anything) becomes text, never markup.
 * @param {typeof import('./browser/words.js').words} words @param {typeof import('./browser/elements.js').elements} elements
 * @param {typeof import('./browser/charts.js').charts} charts @param {typeof import('./browser/sections.js').sections} sections
 */
function run(words, elements, charts, sections) {
  /** @type {any} */
  const global = globalThis
  const { document, EventSource } = global
  /** Charts go so far back, in milliseconds. */
  const WINDOW = 600_000

  /** @type {{ points: any[] }} */
  const history = { points: [] }
  const figures = words()
  const { count, rate, bytes, percent, dollars, time, timeParts, plural } = figures
  const parts = elements()
  const { $, el, figure, draw } = parts
  const { spark, chart } = charts(figures, parts, history)
  const cards = sections(figures, parts)

  /** @param {any} shown */
  function show(shown) {
    const { metrics, costs, budget, savings, advice, errors, window, process, point: now } = shown
    header(metrics, budget, process)
    tiles(metrics, costs, now)
    chart(
      'latency',
      'Latency of calls',
      [
        ['p50', ({ p50 }) => p50, '--p50'],
        ['p90', ({ p90 }) => p90, '--p90'],
        ['p99', ({ p99 }) => p99, '--p99'],
      ],
      time,
    )
    chart(
      'rate',
      'Calls a second',
      [
        ['answered', ({ answered }) => answered, '--rest'],
        ['failed', ({ failed }) => failed, '--bad'],
        ['aborted', ({ aborted }) => aborted, '--queued'],
      ],
      rate,
    )
    $('time-note').textContent = `where the time of a call went, in the mean of the last ${time(window)}`
    draw('time', shown.time, () => cards.slow(shown.time))
    draw('advice', [advice, metrics.pool.connections], () => cards.larger(advice, metrics.pool))
    draw('spend', costs, () => cards.spend(costs))
    draw('budget', [budget, savings.handshakesAvoided, savings.requestsSaved, savings.costSaved], () =>
      cards.money(budget, savings),
    )
    draw('origins', [metrics.pool.origins, metrics.pool.closed], () => cards.origins(metrics.pool))
    draw('queue', metrics.queue, () => cards.queue(metrics.queue))
    draw('spread', [metrics.latency, metrics.firstByte, metrics.queue, metrics.pool.handshake], () =>
      cards.spread(metrics),
    )
    draw('circuits', [metrics.circuits, metrics.limits], () => cards.circuits(metrics))
    draw('errors', errors, () => cards.failures(errors))
    $('foot').textContent =
      `${plural(metrics.requests.started, 'call')} since the client was made · ${bytes(metrics.bytes.sent)} sent, ${bytes(metrics.bytes.received)} received`
  }

  /** @param {any} metrics @param {any} budget @param {any} process */
  function header(metrics, budget, process) {
    const open = Object.entries(metrics.circuits).filter(
      ([name, { state }]) => name.includes('/') && state !== 'closed',
    )
    const full = (budget?.limits ?? []).filter((/** @type {any} */ limit) => limit.spent >= limit.limit)
    const waiting = Object.values(metrics.queue.depth).reduce((sum, n) => sum + n, 0)
    const recent = history.points.slice(-30)
    const failing =
      recent.reduce((sum, { failed }) => sum + failed, 0) /
      (recent.reduce((sum, { failed, answered }) => sum + failed + answered, 0) || 1)
    const [level, text] =
      full.length > 0
        ? ['bad', 'a budget is spent']
        : open.length > 0
          ? ['bad', `${plural(open.length, 'circuit')} not closed`]
          : failing > 0.05
            ? ['warn', `${percent(failing)} of calls fail`]
            : metrics.pool.utilization >= 1 && waiting > 0
              ? ['warn', 'the pool is full']
              : ['good', 'all is well']
    const status = $('status')
    if (status.textContent !== text) status.textContent = text
    status.dataset.level = level
    document.title = level === 'good' ? 'Trunkline' : `(${text}) Trunkline`
    $('facts').textContent = `client up ${time(metrics.uptime)} · Node ${process.node} · process ${process.pid}`
  }

  /** @param {any} metrics @param {any} costs @param {any} now */
  function tiles({ requests, pool, queue, latency, tokens }, costs, now) {
    const waiting = Object.values(queue.depth).reduce((sum, n) => sum + n, 0)
    const [p50, unit] = timeParts(now.p50)
    const ended = now.answered + now.failed + now.aborted
    const all = [
      [
        'Calls a second',
        rate(ended),
        '',
        `${count(requests.failed)} failed of ${count(requests.succeeded + requests.failed)}`,
        'requests.succeeded',
        requests.succeeded,
        (/** @type {any} */ point) => point.answered + point.failed + point.aborted,
        '--rest',
      ],
      [
        'Under way',
        count(requests.inFlight),
        '',
        waiting > 0 ? `${count(waiting)} waiting` : 'none waiting',
        'requests.inFlight',
        requests.inFlight,
        (/** @type {any} */ point) => point.underWay,
        '--first',
      ],
      [
        'Median latency',
        p50,
        unit,
        `p90 ${time(latency.p90)}, p99 ${time(latency.p99)}`,
        'latency.p99',
        latency.p99,
        (/** @type {any} */ point) => point.p50,
        '--p50',
      ],
      [
        'Tokens a second',
        rate(tokens.perSecond),
        '',
        `${count(tokens.input)} in, ${count(tokens.output)} out`,
        'tokens.output',
        tokens.output,
        (/** @type {any} */ point) => point.tokens,
        '--p90',
      ],
      [
        'Connections reused',
        percent(pool.reuseRate),
        '',
        `${count(pool.opened)} opened so far`,
        'pool.opened',
        pool.opened,
        (/** @type {any} */ point) => point.reuse,
        '--connecting',
      ],
      [
        'Spent today',
        dollars(costs.today.total),
        '',
        `yesterday ${dollars(costs.yesterday.total)}`,
        'costs.today',
        costs.today.total,
        (/** @type {any} */ point) => point.spending,
        '--queued',
      ],
    ]
    const place = $('tiles')
    place.replaceChildren(
      ...all.map(([title, value, unit, more, name, raw, of, color]) =>
        el(
          'section',
          { class: 'tile' },
          el('h2', {}, title),
          el('p', { class: 'value' }, value, unit === '' ? null : el('small', {}, unit)),
          el('p', { class: 'more', title: more }, figure(name, raw, more)),
          spark(of, color, `${title} over the last minutes, now ${value} ${unit}`),
        ),
      ),
    )
  }

  // ── The stream of figures, while somebody looks

  /** @type {any} */
  let source = null

  function listen() {
    if (source !== null || document.hidden) return
    source = new EventSource('data')
    source.addEventListener('history', (/** @type {any} */ event) => {
      history.points = JSON.parse(event.data)
    })
    source.onmessage = (/** @type {any} */ event) => {
      const shown = JSON.parse(event.data)
      if (history.points[history.points.length - 1]?.at !== shown.point.at) history.points.push(shown.point)
      while (history.points[0].at < shown.point.at - WINDOW) history.points.shift()
      document.body.classList.remove('stale')
      show(shown)
    }
    source.onerror = () => {
      document.body.classList.add('stale')
      const status = $('status')
      status.textContent = 'not connected'
      status.dataset.level = 'wait'
      document.title = '(not connected) Trunkline'
      // A refusal is final for the browser; the process may come back.
      if (source?.readyState !== 2) return
      source = null
      setTimeout(listen, 3000)
    }
  }

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) return listen()
    source?.close()
    source = null
  })
  listen()
}

module.exports = { run }

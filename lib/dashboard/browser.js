'use strict'

/**
 * What runs on the page. Its text is sent as it stands, so it uses nothing from outside itself. Whatever comes from figures (models and
 * messages may be anything) becomes text, never markup.
 */
function run() {
  /** @type {any} */
  const global = globalThis
  const { document, EventSource } = global
  const $ = (/** @type {string} */ id) => document.getElementById(id)
  /** Charts go so far back, in milliseconds. */
  const WINDOW = 600_000
  const PARTS = [
    ['queued', 'waiting in line', '--queued'],
    ['connecting', 'connecting', '--connecting'],
    ['retried', 'failed attempts and pauses', '--retried'],
    ['firstByte', 'first byte', '--first'],
    ['rest', 'the rest of the answer', '--rest'],
  ]

  /** @type {any[]} */
  let points = []
  /** By section: what it was last drawn of. @type {Map<string, string>} */
  const drawn = new Map()

  // ── Words for figures

  const locale = 'en-US'
  const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 })
  const short = new Intl.NumberFormat(locale, { notation: 'compact', maximumSignificantDigits: 3 })
  const count = (/** @type {number} */ n) => (n < 100_000 ? whole.format(n) : short.format(n))
  const rate = (/** @type {number} */ n) => (n === 0 ? '0' : n < 10 ? n.toFixed(1) : count(n))
  const bytes = (/** @type {number} */ n) => {
    const unit = ['B', 'kB', 'MB', 'GB', 'TB'].findIndex((_, at) => n < 1000 ** (at + 1) || at === 4)
    return `${(n / 1000 ** unit).toPrecision(3).replace(/\.0+$/, '')} ${['B', 'kB', 'MB', 'GB', 'TB'][unit]}`
  }
  const percent = (/** @type {number} */ share) => `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`
  const dollars = (/** @type {number} */ n) =>
    n >= 1000 ? `$${short.format(n)}` : `$${n.toFixed(n === 0 || n >= 1 ? 2 : n >= 0.01 ? 3 : 6)}`

  const trimmed = (/** @type {number} */ n) => n.toFixed(n < 10 ? 1 : 0).replace('.0', '')

  /** @param {number | null} ms @returns {[string, string]} */
  function timeParts(ms) {
    if (ms === null) return ['–', '']
    if (ms < 1000) return [ms === 0 ? '0' : ms < 1 ? ms.toFixed(2) : ms < 10 ? ms.toFixed(1) : ms.toFixed(0), 'ms']
    if (ms < 60_000) return [ms < 10_000 ? (ms / 1000).toFixed(2) : trimmed(ms / 1000), 's']
    if (ms < 3_600_000) return [trimmed(ms / 60_000), 'min']
    return ms < 172_800_000 ? [trimmed(ms / 3_600_000), 'h'] : [trimmed(ms / 86_400_000), 'days']
  }
  const time = (/** @type {number | null} */ ms) => timeParts(ms).join(' ').trim()
  const plural = (/** @type {number} */ n, /** @type {string} */ word) => `${count(n)} ${word}${n === 1 ? '' : 's'}`
  const clock = (/** @type {number} */ at) => new Date(at).toLocaleTimeString([], { hour12: false })

  // ── Elements

  /** @param {string} tag @param {any} [props] @param {any[]} children */
  function el(tag, props, ...children) {
    const node = document.createElement(tag)
    for (const [name, value] of Object.entries(props ?? {})) {
      if (value === undefined || value === null) continue
      if (name === 'style') for (const [key, of] of Object.entries(value)) node.style.setProperty(key, of)
      else node.setAttribute(name, String(value))
    }
    node.append(...children.filter((child) => child !== null && child !== undefined))
    return node
  }

  /** @param {string} tag @param {any} props @param {any[]} children */
  function svg(tag, props, ...children) {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag)
    for (const [name, value] of Object.entries(props)) {
      if (name === 'color') node.style.color = `var(${value})`
      else node.setAttribute(name, String(value))
    }
    node.append(...children)
    return node
  }

  /** A figure as people read it, and as it came. @param {string} name @param {number | null} value @param {any[]} words */
  const figure = (name, value, ...words) => el('span', { 'data-figure': name, 'data-value': value }, ...words)

  /** Draws a section where what it shows has changed, and nobody marks text in it. @param {string} id @param {any} data @param {() => any[]} make */
  function draw(id, data, make) {
    const text = JSON.stringify(data)
    if (drawn.get(id) === text) return
    const place = $(id)
    const selection = global.getSelection()
    if (selection !== null && !selection.isCollapsed && place.contains(selection.anchorNode)) return
    drawn.set(id, text)
    const focused = place.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null
    place.replaceChildren(...make())
    if (focused !== null)
      [...place.querySelectorAll('[tabindex]')].find((node) => node.getAttribute('aria-label') === focused)?.focus()
  }

  /** @param {string} label @param {string[]} heads @param {any[][]} rows @param {(row: any[], at: number) => string | undefined} [kind] */
  function table(label, heads, rows, kind) {
    const head = el('tr', {}, ...heads.map((text) => el('th', { scope: 'col' }, text)))
    const body = rows.map((cells, at) =>
      el(
        'tr',
        { class: kind?.(cells, at) },
        ...cells.map((cell, column) =>
          el('td', column === 0 ? { class: 'name', title: typeof cell === 'string' ? cell : undefined } : {}, cell),
        ),
      ),
    )
    return el(
      'div',
      { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label },
      el('table', { 'aria-label': label }, el('thead', {}, head), el('tbody', {}, ...body)),
    )
  }

  const empty = (/** @type {string} */ text) => el('p', { class: 'empty' }, text)
  const pill = (/** @type {string} */ text, /** @type {string} */ level) =>
    el('span', { class: 'pill', 'data-level': level }, text)
  const levelOf = (/** @type {number} */ share) => (share >= 1 ? 'bad' : share >= 0.8 ? 'warn' : 'good')

  /** @param {any} title @param {any} value @param {number} share @param {any} [under] @param {string} [level] */
  function meter(title, value, share, under, level) {
    const width = `${Math.min(100, Math.max(share > 0 ? 1 : 0, share * 100))}%`
    return el(
      'div',
      { class: 'row' },
      el('p', {}, el('span', { title: typeof title === 'string' ? title : undefined }, title), el('span', {}, value)),
      el(
        'div',
        { class: 'meter', 'aria-hidden': 'true' },
        el('i', { 'data-level': level ?? levelOf(share), style: { width } }),
      ),
      under === undefined ? null : el('p', { class: 'under' }, under),
    )
  }

  // ── Charts

  /** A number at or above the most, that is good to read on an axis. @param {number} most */
  function roof(most) {
    if (!(most > 0)) return 1
    const unit = 10 ** Math.floor(Math.log10(most))
    return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * unit).find((n) => n >= most * 1.02) ?? 10 * unit
  }

  /**
   * Line and area of one figure; where it is not known there is a gap.
   * @param {(point: any) => number | null} of @param {{ from: number, to: number, top: number, width: number, height: number }} frame
   */
  function traces(of, { from, to, top, width, height }) {
    /** @type {number[][][]} */
    const runs = [[]]
    for (const point of points) {
      const value = of(point)
      if (value === null) {
        if (runs[runs.length - 1].length > 0) runs.push([])
        continue
      }
      const x = ((point.at - from) / (to - from)) * width
      runs[runs.length - 1].push([x, height - (Math.min(value, top) / top) * height])
    }
    const path = (/** @type {number[][]} */ run) =>
      run.map(([x, y], at) => `${at === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('')
    const full = runs.filter((run) => run.length > 1)
    return {
      line: full.map(path).join(''),
      area: full
        .map((run) => `${path(run)}L${run[run.length - 1][0].toFixed(1)} ${height}L${run[0][0].toFixed(1)} ${height}Z`)
        .join(''),
    }
  }

  const most = (/** @type {((point: any) => number | null)[]} */ ofs) =>
    points.reduce((most, point) => ofs.reduce((most, of) => Math.max(most, of(point) ?? 0), most), 0)

  /** From when to when: at least two minutes, so that a young line is not a wild one. */
  function span() {
    const to = points.length > 0 ? points[points.length - 1].at : Date.now()
    const from = points.length > 0 ? points[0].at : to
    return { from: Math.min(from, to - 60_000), to }
  }

  /** @param {(point: any) => number | null} of @param {string} color @param {string} label */
  function spark(of, color, label) {
    const frame = { ...span(), top: roof(most([of])), width: 200, height: 36 }
    const { line, area } = traces(of, frame)
    return svg(
      'svg',
      { viewBox: '0 0 200 40', preserveAspectRatio: 'none', role: 'img', 'aria-label': label, color },
      svg('path', { d: area, class: 'area', fill: 'currentColor', transform: 'translate(0 4)' }),
      svg('path', { d: line, class: 'trace', stroke: 'currentColor', transform: 'translate(0 4)' }),
    )
  }

  /**
   * @param {string} id @param {string} label @param {[string, (point: any) => number | null, string][]} series
   * @param {(value: number) => string} words
   */
  function chart(id, label, series, words) {
    const top = roof(most(series.map(([, of]) => of)))
    const frame = { ...span(), top, width: 600, height: 168 }
    const last = points[points.length - 1]
    const now = series.map(([name, of]) => `${name} ${of(last) === null ? 'unknown' : words(of(last) ?? 0)}`).join(', ')
    const lines = [0, 0.5, 1].map((share) =>
      svg('line', { x1: 0, x2: 600, y1: 168 * share, y2: 168 * share, class: 'grid-line' }),
    )
    const shapes = series.map(([, of, color], at) => {
      const { line, area } = traces(of, frame)
      return svg(
        'g',
        { color },
        ...(at === 0 ? [svg('path', { d: area, class: 'area', fill: 'currentColor' })] : []),
        svg('path', { d: line, class: 'trace', stroke: 'currentColor' }),
      )
    })
    const place = $(id)
    let box = place.querySelector('.chart')
    if (box === null) {
      place.replaceChildren(
        el('ul', { class: 'legend' }),
        el('div', { class: 'chart' }),
        el('div', { class: 'axis', 'aria-hidden': 'true' }, el('span'), el('span', {}, 'now')),
      )
      box = place.querySelector('.chart')
      box.append(
        el('div', { class: 'plot' }),
        el('div', { class: 'cross', hidden: '' }),
        el('div', { class: 'tip', hidden: '' }),
      )
      box.addEventListener('pointermove', (/** @type {any} */ event) => point(box, event))
      box.addEventListener('pointerleave', () => point(box, null))
    }
    box.series = series
    box.words = words
    box.frame = frame
    place.querySelector('.legend').replaceChildren(
      ...series.map(([name, of, color]) => {
        const value = of(last)
        return el(
          'li',
          {},
          el('i', { class: 'key', style: { color: `var(${color})` } }),
          name,
          el('b', {}, value === null ? '–' : words(value)),
        )
      }),
    )
    box
      .querySelector('.plot')
      .replaceChildren(
        svg(
          'svg',
          { viewBox: '0 0 600 168', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${label}: ${now}` },
          ...lines,
          ...shapes,
        ),
        ...[0, 0.5].map((share) =>
          el(
            'span',
            { class: 'tick', 'aria-hidden': 'true', style: { top: `${168 * share + 15}px` } },
            words(top * (1 - share)),
          ),
        ),
      )
    place.querySelector('.axis span').textContent = `${time(frame.to - frame.from)} ago`
    if (box.event) point(box, box.event)
  }

  /** What was there where somebody points. @param {any} box @param {any} event */
  function point(box, event) {
    box.event = event
    const cross = box.querySelector('.cross')
    const tip = box.querySelector('.tip')
    cross.hidden = tip.hidden = event === null || points.length === 0
    if (cross.hidden) return
    const { left, width } = box.getBoundingClientRect()
    const { from, to } = box.frame
    const at = from + ((event.clientX - left) / width) * (to - from)
    const near = points.reduce((best, one) => (Math.abs(one.at - at) < Math.abs(best.at - at) ? one : best))
    const x = ((near.at - from) / (to - from)) * width
    cross.style.left = `${x}px`
    const words = box.series.map(
      (/** @type {any} */ [name, of]) => `${name} ${of(near) === null ? '–' : box.words(of(near))}`,
    )
    tip.textContent = [clock(near.at), ...words].join(' · ')
    tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth, x - tip.offsetWidth / 2))}px`
  }

  // ── Sections

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
    draw('time', shown.time, () => slow(shown.time))
    draw('advice', [advice, metrics.pool.connections], () => larger(advice, metrics.pool))
    draw('spend', costs, () => spend(costs))
    draw('budget', [budget, savings.handshakesAvoided, savings.requestsSaved, savings.costSaved], () =>
      money(budget, savings),
    )
    draw('origins', [metrics.pool.origins, metrics.pool.closed], () => origins(metrics.pool))
    draw('queue', metrics.queue, () => queue(metrics.queue))
    draw('spread', [metrics.latency, metrics.firstByte, metrics.queue, metrics.pool.handshake], () => spread(metrics))
    draw('circuits', [metrics.circuits, metrics.limits], () => circuits(metrics))
    draw('errors', errors, () => failures(errors))
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
    const recent = points.slice(-30)
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

  // ── The stream of figures, while somebody looks

  /** @type {any} */
  let source = null

  function listen() {
    if (source !== null || document.hidden) return
    source = new EventSource('data')
    source.addEventListener('history', (/** @type {any} */ event) => {
      points = JSON.parse(event.data)
    })
    source.onmessage = (/** @type {any} */ event) => {
      const shown = JSON.parse(event.data)
      if (points[points.length - 1]?.at !== shown.point.at) points.push(shown.point)
      while (points[0].at < shown.point.at - WINDOW) points.shift()
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

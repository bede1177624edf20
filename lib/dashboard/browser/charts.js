'use strict'

/**
 * Figures over time. Its text is sent, as `../browser.js` says.
 * @param {ReturnType<typeof import('./words.js').words>} words @param {ReturnType<typeof import('./elements.js').elements>} elements
 * @param {{ points: any[] }} history
 */
function charts({ time, clock }, { $, el, svg }, history) {
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
    for (const point of history.points) {
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
    history.points.reduce((most, point) => ofs.reduce((most, of) => Math.max(most, of(point) ?? 0), most), 0)

  /** From when to when: at least two minutes, so that a young line is not a wild one. */
  function span() {
    const to = history.points.length > 0 ? history.points[history.points.length - 1].at : Date.now()
    const from = history.points.length > 0 ? history.points[0].at : to
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
    const last = history.points[history.points.length - 1]
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

  /** What was there where somebody history.points. @param {any} box @param {any} event */
  function point(box, event) {
    box.event = event
    const cross = box.querySelector('.cross')
    const tip = box.querySelector('.tip')
    cross.hidden = tip.hidden = event === null || history.points.length === 0
    if (cross.hidden) return
    const { left, width } = box.getBoundingClientRect()
    const { from, to } = box.frame
    const at = from + ((event.clientX - left) / width) * (to - from)
    const near = history.points.reduce((best, one) => (Math.abs(one.at - at) < Math.abs(best.at - at) ? one : best))
    const x = ((near.at - from) / (to - from)) * width
    cross.style.left = `${x}px`
    const words = box.series.map(
      (/** @type {any} */ [name, of]) => `${name} ${of(near) === null ? '–' : box.words(of(near))}`,
    )
    tip.textContent = [clock(near.at), ...words].join(' · ')
    tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth, x - tip.offsetWidth / 2))}px`
  }

  return { spark, chart }
}

module.exports = { charts }

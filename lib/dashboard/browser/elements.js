'use strict'

/** Elements of the page. Its text is sent, as `../browser.js` says. */
function elements() {
  /** @type {any} */
  const global = globalThis
  const { document } = global
  const $ = (/** @type {string} */ id) => document.getElementById(id)
  /** By section: what it was last drawn of. @type {Map<string, string>} */
  const drawn = new Map()

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

  return { $, el, svg, figure, draw, table, empty, pill, meter }
}

module.exports = { elements }

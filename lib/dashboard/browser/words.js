'use strict'

/** Words for figures, as people read them. Its text is sent, as `../browser.js` says. */
function words() {
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

  return { count, rate, bytes, percent, dollars, time, timeParts, plural, clock }
}

module.exports = { words }

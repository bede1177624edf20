'use strict'

/** The page: its text, its style and its script in one, so that it asks nobody for anything but figures. */

const { createHash } = require('node:crypto')
const { run } = require('./browser.js')
const { charts } = require('./browser/charts.js')
const { elements } = require('./browser/elements.js')
const { sections } = require('./browser/sections.js')
const { words } = require('./browser/words.js')
const { style } = require('./style.js')

const LOGO =
  '<path d="M3 12h5l4-6 4 12 4-6h9" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/>'
const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 24" color="#2f6fed">${LOGO}</svg>`

/** A card with a heading; the script fills its body. @param {string} id @param {string} title @param {string} [note] @param {string} [size] */
const card = (id, title, note = '', size = '') =>
  `<section class="card ${size}" aria-labelledby="${id}-title"><header><h2 id="${id}-title">${title}</h2><p class="note" id="${id}-note">${note}</p></header><div id="${id}"></div></section>`

/** What bundlers that keep names put into functions; nothing on the page. */
const script = `const __name = (fn) => fn;(${run})(${[words, elements, charts, sections].join()})`

const html = () => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Trunkline</title>
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(ICON)}">
<style>${style}</style>
</head>
<body>
<header class="top">
<div class="brand"><svg viewBox="0 0 32 24" aria-hidden="true">${LOGO}</svg><h1>Trunkline</h1></div>
<p class="status" id="status" role="status" data-level="wait">connecting …</p>
<p class="facts" id="facts"></p>
</header>
<noscript><p class="card">This page draws figures that change every second, which takes JavaScript.</p></noscript>
<main>
<div class="tiles" id="tiles"></div>
<div class="grid">
${card('latency', 'Latency', 'of calls as they ended', 'half')}
${card('rate', 'Calls a second', '', 'half')}
${card('time', 'Why was it slow?', 'where the time of a call goes, in the mean', 'two')}
${card('advice', 'What would a larger pool change?', '', 'one')}
${card('spend', 'What did it cost?', '', 'two')}
${card('budget', 'Budget and savings', '', 'one')}
${card('origins', 'Connections by origin', '', 'two')}
${card('queue', 'Queue by priority', 'calls that wait', 'one')}
${card('spread', 'How long things take', 'since the client was made', 'half')}
${card('circuits', 'Circuits and limits', '', 'half')}
${card('errors', 'Last errors', '', 'full')}
</div>
</main>
<footer><p id="foot"></p><p><a href="metrics">Prometheus</a> · <a href="snapshot">JSON</a></p></footer>
<script>${script}</script>
</body>
</html>
`

/** @param {string} text */
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** @type {{ html: string, policy: string } | undefined} */
let made

/** The page, and the policy under which it may do what it does and nothing else. */
function page() {
  made ??= {
    html: html(),
    policy: [
      "default-src 'none'",
      `script-src ${hash(script)}`,
      `style-src ${hash(style)}`,
      "connect-src 'self'",
      'img-src data:',
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
    ].join('; '),
  }
  return made
}

module.exports = { page }

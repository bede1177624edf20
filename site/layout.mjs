// One page of the site: navigation, what it says, and what is on it.

import { posix } from 'node:path'

const escaped = (text) =>
  text.replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign])

// Nothing is asked of anybody else, and no script but the site's own runs.
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"

export function layout({ place, title, html, navigation, headings }) {
  const to = (other) => posix.relative(posix.dirname(place), other)
  const order = navigation.flatMap(({ pages }) => pages)
  const at = order.findIndex((page) => page.place === place)
  const onPage = headings.filter(({ level }) => level === 2 || level === 3)
  return `<!doctype html>
<html lang="en" data-base="${to('.') || '.'}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="color-scheme" content="light dark">
<title>${escaped(title === 'Trunkline' ? title : `${title} · Trunkline`)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${to('style.css')}">
<script src="${to('theme.js')}"></script>
<script src="${to('page.js')}" defer></script>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<button type="button" class="menu" aria-expanded="false" aria-controls="navigation">Menu</button>
<a class="home" href="${to('index.html')}">Trunkline</a>
<div class="search" role="search"><input type="search" placeholder="Search" aria-label="Search" autocomplete="off" spellcheck="false" aria-controls="found"><ol id="found" hidden></ol></div>
<button type="button" class="theme" aria-label="Light or dark">◐</button>
</header>
<div class="columns">
<nav id="navigation" aria-label="Pages">
${navigation.map((section) => sectionHtml(section, place, to)).join('\n')}
</nav>
<main id="content">
${html}
<footer>${neighbour(order[at - 1], 'previous', to, at > 0)}${neighbour(order[at + 1], 'next', to, at >= 0)}</footer>
</main>
${onPage.length > 1 ? `<aside aria-label="On this page"><p>On this page</p><ul>${onPage.map(({ id, title, level }) => `<li class="l${level}"><a href="#${id}">${escaped(title)}</a></li>`).join('')}</ul></aside>` : ''}
</div>
</body>
</html>
`
}

function sectionHtml({ title, pages }, place, to) {
  const open = pages.length < 20 || pages.some((page) => page.place === place)
  const items = pages.map((page) => {
    const current = page.place === place ? ' aria-current="page"' : ''
    return `<li><a href="${to(page.place)}"${current}>${escaped(page.name)}</a></li>`
  })
  return `<details${open ? ' open' : ''}><summary>${escaped(title)}</summary><ul>${items.join('')}</ul></details>`
}

function neighbour(page, rel, to, there) {
  if (!page || !there) return '<span></span>'
  const name = escaped(page.name)
  return `<a rel="${rel === 'next' ? 'next' : 'prev'}" href="${to(page.place)}">${rel === 'next' ? `${name} →` : `← ${name}`}</a>`
}

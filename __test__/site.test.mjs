// The documentation site: it is built, its links lead somewhere, and it can be read, on a phone and in the dark.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, posix } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { documentRust, setUpSite } from '../scripts/site.mjs'
import { Browser, chromium, unreadable } from './browser.mjs'
import { root, until } from './support.mjs'

const out = join(root, 'target/site-test')
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
}

/** @type {Awaited<ReturnType<typeof import('../site/build.mjs').build>>} */
let site
const unmade = prepared()
const missing = unmade || (chromium === undefined && 'chromium is missing (apt-get install chromium)')
if (missing) console.log(`!! SKIPPED: ${missing}`)
function prepared() {
  try {
    setUpSite()
    return false
  } catch (error) {
    if (process.env.CI) throw error
    return error.message
  }
}

let rust
before(async () => {
  if (unmade) return
  const { build } = await import('../site/build.mjs')
  rust = documentRust()
  site = await build({ out, rust })
})

const read = (place) => readFileSync(join(out, place), 'utf8')
const html = () => site.files.filter((name) => name.endsWith('.html'))

test('every link leads to a page that is there, and to a heading that it has', { skip: unmade }, () =>
  assert.deepEqual(site.broken, []),
)

test('each page of docs/ is on the site, as are the README, the design and the reference of each module', {
  skip: unmade,
}, () => {
  for (const place of [
    'index.html',
    'design.html',
    'guides/quick-start.html',
    'errors/err_timeout.html',
    'reference/trunkline/classes/trunkline.html',
    'reference/trunkline/testing/classes/mockupstream.html',
    'reference/trunkline/otel/functions/instrument.html',
    'source/examples/costs.mjs.html',
  ])
    assert.ok(site.files.includes(place), place)
  assert.equal(new Set(site.pages).size, site.pages.length, 'no two pages are at one place')
})

test('the page on performance has its charts', { skip: unmade }, () => {
  const charts = [...read('performance.html').matchAll(/<img src="([^"]+\.svg)" alt="[^"]+"/g)].map(([, src]) => src)
  assert.deepEqual(
    charts.map((src) => src.split('/').at(-1)),
    ['chart.svg', 'network.svg', 'scale.svg'],
  )
  // With a ground of its own, by which it can be read in the dark, whatever the page's is.
  for (const src of charts) {
    assert.match(
      read(src),
      /^<svg[\s\S]*\n {2}\.ground \{ fill: #f[\s\S]*: dark\) \{[\s\S]*\n {4}\.ground \{ fill: #0[\s\S]*<rect class="ground"/,
      src,
    )
  }
  assert.doesNotMatch(read('style.css'), /\bimg\b[^}]*background/)
})

test('the reference of the Rust underneath is a page of its own among the references, of every floor', {
  skip: unmade,
}, (t) => {
  if (!rust && !process.env.CI) return t.skip('cargo is missing')
  const [, place] = /<a href="([^"]*)">The Rust underneath</.exec(read('index.html'))
  const front = read(place)
  for (const floor of ['client', 'config', 'error', 'job', 'mock', 'policy', 'pool', 'protocol', 'telemetry']) {
    assert.ok(front.includes(`href="${floor}/index.html"`), floor)
    assert.match(read(posix.join(posix.dirname(place), floor, 'index.html')), /<h1>/, floor)
  }
  // What is private is there, where comments lead to it.
  assert.match(read('rust/trunkline/pool/index.html'), /href="rights\/index\.html"/)
})

test('nothing on a page is from elsewhere, and no page has a script or a style of its own', { skip: unmade }, () => {
  for (const place of html()) {
    const text = read(place)
    assert.doesNotMatch(text, /<(?:link|script|img|source|iframe)\b[^>]*(?:src|href)="(?:https?:)?\/\//, place)
    assert.doesNotMatch(text, /<script>|<style|\son[a-z]+=|\sstyle="/, place)
    assert.match(text, /Content-Security-Policy" content="default-src 'none';/, place)
  }
})

test('comments for those who look after a page are not on it', { skip: unmade }, () => {
  for (const place of html()) assert.doesNotMatch(read(place), /<!-- (given|then|with|continues|prints|not run)/, place)
})

// A suite that is left out would not be counted.
test('there is a Chromium to look at the site', { skip: missing }, () => assert.ok(chromium))

describe('the site in Chromium', { skip: missing }, () => {
  let browser
  let server
  let url
  before(async () => {
    browser = new Browser()
    server = createServer((request, response) => {
      const { pathname } = new URL(request.url, 'http://localhost')
      try {
        const body = readFileSync(join(out, decodeURIComponent(pathname)))
        response.writeHead(200, { 'content-type': TYPES[extname(pathname)] ?? 'text/plain' }).end(body)
      } catch {
        response.writeHead(404).end()
      }
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${server.address().port}/`
  })
  after(async () => {
    await browser?.close()
    server?.closeAllConnections()
    server?.close()
  })

  async function opened(place, how) {
    const page = await browser.page(how)
    await go(page, place)
    return page
  }
  async function go(page, place) {
    await page.go(`${url}${place}`)
    const there = `location.pathname === ${JSON.stringify(`/${place}`)} && document.readyState === 'complete'`
    await until(() => page.ask(there), `${place} is there`)
  }

  /** Those that somebody wrote, and of the reference one of each kind. */
  const looked = () => {
    const seen = new Set()
    return site.pages.filter((place) => {
      if (!place.startsWith('reference/')) return true
      const kind = place.replace(/[^/]+$/, '')
      return !seen.has(kind) && seen.add(kind)
    })
  }

  const views = {
    light: { width: 1280, height: 900, dark: false },
    dark: { width: 1280, height: 900, dark: true },
    phone: { width: 360, height: 740, dark: false },
    'phone-dark': { width: 360, height: 740, dark: true },
  }

  test('every page can be read, in light and dark, on a desk and on a phone', async () => {
    const pictures = join(root, 'target/site-pictures')
    mkdirSync(pictures, { recursive: true })
    const page = await opened('index.html')
    for (const place of looked()) {
      await go(page, place)
      assert.equal(await page.ask("document.querySelectorAll('img:not([alt])').length"), 0, place)
      assert.equal(await page.ask("document.querySelectorAll('h1').length"), 1, place)
      for (const [name, { width, height, dark }] of Object.entries(views)) {
        const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
        await page.send('Emulation.setEmulatedMedia', { features })
        const mobile = width < 600
        await page.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile })
        const [scroll, wide] = await page.ask('[document.documentElement.scrollWidth, innerWidth]')
        // What is too wide widens the window of a phone, unless it is scrolled by itself.
        assert.ok(Math.max(scroll, wide) <= width, `${place} is ${Math.max(scroll, wide)} wide in a window of ${width}`)
        // Colours are the same on a phone.
        if (!mobile) assert.deepEqual(await page.ask(`(${unreadable.toString()})()`), [], `${place}, ${name}`)
        if (!['index.html', 'guides/fall-back.html', 'errors/err_timeout.html'].includes(place)) continue
        const { data } = await page.send('Page.captureScreenshot', { format: 'png' })
        writeFileSync(join(pictures, `${name}-${place.replaceAll('/', '-')}.png`), Buffer.from(data, 'base64'))
      }
    }
    assert.deepEqual(page.errors, [])
    for (const asked of page.asked) assert.ok(asked.startsWith(url) || asked.startsWith('data:'), asked)
  })

  test('rustdoc’s pages ask nobody else for anything, and can be read on a phone', async (t) => {
    if (!rust && !process.env.CI) return t.skip('cargo is missing')
    const page = await opened('rust/trunkline/pool/index.html', { width: 360, height: 740, mobile: true })
    assert.match(await page.ask("document.querySelector('h1').textContent"), /pool/)
    assert.ok((await page.ask('document.documentElement.scrollWidth')) <= 360)
    assert.deepEqual(page.errors, [])
    for (const asked of page.asked) assert.ok(asked.startsWith(url) || asked.startsWith('data:'), asked)
  })

  test('the search finds a page by what it says, and leads there', async () => {
    const page = await opened('guides/batch.html')
    const search = (words) =>
      page.ask(
        `(() => { const input = document.querySelector('.search input'); input.focus(); input.value = ${JSON.stringify(words)}; input.dispatchEvent(new Event('input')) })()`,
      )
    const found = () => page.ask("[...document.querySelectorAll('#found a')].map((link) => link.textContent)")
    for (const [words, wanted] of [
      ['ERR_TIMEOUT', /ERR_TIMEOUT/],
      ['Retry-After', /retry|limit/i],
      ['certificate authority', /certificate authority/i],
      ['withMeta', /withMeta/],
      ['how do I move from vercel', /vercel/i],
    ]) {
      await search(words)
      await until(async () => (await found()).some((text) => wanted.test(text)), `${words} is found`)
    }
    await search('ERR_TIMEOUT')
    await until(async () => (await found()).some((text) => text.startsWith('ERR_TIMEOUT')))
    await page.ask(
      "[...document.querySelectorAll('#found a')].find((link) => link.textContent.startsWith('ERR_TIMEOUT')).click()",
    )
    await until(() =>
      page.ask("location.pathname === '/errors/err_timeout.html' && document.readyState === 'complete'"),
    )
    await search('qqqqzzzz')
    await until(async () => (await page.ask("document.querySelector('#found').textContent")) === 'Nothing found.')
    assert.deepEqual(page.errors, [])
  })

  test('on a phone the pages are behind a button, and light or dark can be chosen', async () => {
    const page = await opened('index.html', { width: 360, height: 740, mobile: true })
    const shown = () => page.ask("getComputedStyle(document.querySelector('nav')).display !== 'none'")
    assert.equal(await shown(), false)
    await page.ask("document.querySelector('.menu').click()")
    assert.equal(await shown(), true)
    const ground = () => page.ask('getComputedStyle(document.body).backgroundColor')
    const light = await ground()
    await page.ask("document.querySelector('.theme').click()")
    assert.notEqual(await ground(), light)
    await go(page, 'calls.html')
    assert.notEqual(await ground(), light, 'it is remembered')
  })
})

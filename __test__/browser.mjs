// Headless Chromium over its DevTools protocol, by a pipe: no port, and no package between.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The program, or undefined. */
export const chromium = [process.env.CHROMIUM, 'chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => name && spawnSync(name, ['--version']).status === 0,
)

export class Browser {
  #child
  #profile
  #next = 0
  #answers = new Map()
  #pages = new Map()
  #rest = ''

  constructor() {
    this.#profile = mkdtempSync(join(tmpdir(), 'trunkline-chromium-'))
    const flags = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--hide-scrollbars',
    ]
    // What it asks of its maker is not asked here.
    flags.push('--disable-background-networking', '--disable-component-update', '--no-proxy-server', '--mute-audio')
    this.#child = spawn(
      chromium,
      [...flags, `--user-data-dir=${this.#profile}`, '--remote-debugging-pipe', 'about:blank'],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true },
    )
    this.ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.stdio[4].setEncoding('utf8').on('data', (text) => {
      const messages = (this.#rest + text).split('\0')
      this.#rest = messages.pop()
      for (const message of messages) this.#read(JSON.parse(message))
    })
    this.ended.then(() => {
      for (const { reject } of this.#answers.values()) reject(new Error('the browser has ended'))
    })
  }

  #read({ id, result, error, method, params, sessionId }) {
    if (id === undefined) return this.#pages.get(sessionId)?.heard(method, params)
    const { resolve, reject, what } = this.#answers.get(id)
    this.#answers.delete(id)
    if (error) reject(new Error(`${what}: ${error.message}`))
    else resolve(result)
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#next
    return new Promise((resolve, reject) => {
      this.#answers.set(id, { resolve, reject, what: method })
      this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    })
  }

  /** A new page with nothing in it. `dark`, `width`, `height`, `scale` and `mobile` say how it is looked at. */
  async page({ dark = false, width = 1280, height = 800, scale = 1, mobile = false } = {}) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true })
    const page = new Page((method, params) => this.send(method, params, sessionId), { width, height, scale, mobile })
    this.#pages.set(sessionId, page)
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await page.send(`${domain}.enable`)
    await page.resize(height)
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
    await page.send('Emulation.setEmulatedMedia', { features })
    return page
  }

  async close() {
    this.send('Browser.close').catch(() => {})
    await this.ended
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 })
  }
}

class Page {
  #view
  /** Errors that the page's console has, or would have. */
  errors = []
  /** Whatever it asked for. */
  asked = []

  constructor(send, view) {
    this.send = send
    this.#view = view
  }

  heard(method, params) {
    if (method === 'Network.requestWillBeSent') this.asked.push(params.request.url)
    if (method === 'Runtime.exceptionThrown')
      this.errors.push(params.exceptionDetails.exception?.description ?? 'exception')
    if (method === 'Runtime.consoleAPICalled' && params.type === 'error') this.errors.push(JSON.stringify(params.args))
    if (method === 'Log.entryAdded' && params.entry.level === 'error') this.errors.push(params.entry.text)
  }

  async resize(height) {
    const { width, scale, mobile } = this.#view
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: scale, mobile })
  }

  async go(url) {
    const { errorText } = await this.send('Page.navigate', { url })
    if (errorText) throw new Error(`${url}: ${errorText}`)
  }

  /** What an expression comes to on the page. */
  async ask(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  }

  /** All of the page, as a PNG. */
  async picture() {
    const height = await this.ask('document.documentElement.scrollHeight')
    await this.resize(height)
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' })
    return Buffer.from(data, 'base64')
  }
}

/** On the page: words whose contrast with what is behind them is below 4.5, as WCAG 2 has it. To be sent there as a text. */
export function unreadable() {
  const { document, getComputedStyle } = globalThis
  const parts = (color) => color.match(/[\d.]+/g).map(Number)
  const light = (color) => {
    const [r, g, b] = parts(color).map((part) =>
      part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4,
    )
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor
      if (parts(color)[3] !== 0) return color
    }
    return 'rgb(255, 255, 255)'
  }
  const found = new Set()
  for (const node of document.querySelectorAll('body *')) {
    const words = [...node.childNodes].filter((child) => child.nodeType === 3 && child.data.trim() !== '')
    if (words.length === 0 || node.closest('script, noscript, [hidden]')) continue
    const [one, other] = [light(getComputedStyle(node).color), light(behind(node))].sort((one, other) => other - one)
    const contrast = (one + 0.05) / (other + 0.05)
    if (contrast < 4.5) found.add(`${node.className || node.tagName}: ${contrast.toFixed(2)}`)
  }
  return [...found]
}

// Which of the web platform tests are run, as they lie in a checkout.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { inapplicable } from './applies.mjs'

/** The decoder of events is held to these, by ours alone: Node has none that could be asked. */
const EVENTS = 'eventsource'
/** Others hold the platform's own Request, Response and Headers, which are the same under both. */
const FETCHES = /\bfetch\(/

/** What is of fetch, and not of how a browser loads pages. */
const FOLDERS = [
  'fetch/api',
  'fetch/content-encoding',
  'fetch/content-length',
  'fetch/content-type',
  'fetch/data-urls',
  'fetch/h1-parsing',
  'fetch/range',
  'fetch/redirects',
  'fetch/security',
  EVENTS,
]

const TEST = /(\.any\.js|\.window\.js|\.html?)$/
const BESIDE = /(^|\/)(resources|support|snippets)\//

/**
 * @param {string} checkout @param {string} only a part of the path
 * @returns {{ files: { path: string, url: string, kind: 'http' | 'https' | 'h2', scripts: object[], isLong: boolean, fetches: boolean }[], left: { path: string, reason: string }[] }}
 */
export function plan(checkout, only) {
  const files = []
  const left = []
  for (const path of FOLDERS.flatMap((folder) => walk(checkout, folder))) {
    if (!path.includes(only)) continue
    const reason = inapplicable(path)
    if (reason !== undefined) {
      left.push({ path, reason })
      continue
    }
    const source = readFileSync(join(checkout, path), 'utf8')
    const kind = path.includes('.h2.') ? 'h2' : path.includes('.https.') ? 'https' : 'http'
    const { scripts, variants, isLong } = path.endsWith('.js') ? ofScript(path, source) : ofPage(path, source)
    if (scripts === null) {
      left.push({ path, reason: 'no test of its own' })
      continue
    }
    for (const variant of variants) {
      const url = `/${path.replace(/\.js$/, '.html')}${variant}`
      files.push({ path: `${path}${variant}`, url, kind, scripts, isLong, fetches: FETCHES.test(source) })
    }
  }
  return { files, left }
}

/** @param {string} path */
export function isOfEvents(path) {
  return path.startsWith(`${EVENTS}/`)
}

function walk(checkout, folder) {
  if (!existsSync(join(checkout, folder))) return []
  return readdirSync(join(checkout, folder), { recursive: true })
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .filter((path) => TEST.test(path) && !BESIDE.test(path))
    .sort()
}

const HARNESS = [{ path: '/resources/testharness.js' }]

/** What a `.any.js` says of itself in its first comments. */
function ofScript(path, source) {
  const meta = [...source.matchAll(/^\/\/\s*META:\s*(\w+)=(.*)$/gm)].map(([, name, value]) => [name, value.trim()])
  const all = (name) => meta.filter(([of]) => of === name).map(([, value]) => value)
  const scripts = all('script').map((script) => ({ path: posix.resolve('/', dirname(path), script) }))
  return {
    scripts: [...HARNESS, ...scripts, { path: `/${path}` }],
    variants: all('variant').length > 0 ? all('variant') : [''],
    isLong: all('timeout').includes('long'),
  }
}

/** The scripts of a page, where it is one of tests. */
function ofPage(path, source) {
  const scripts = [...source.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)].flatMap(([, attributes, text]) => {
    const from = /\bsrc=["']?([^"'\s>]+)/.exec(attributes)?.[1]
    if (from === undefined) return text.trim() === '' ? [] : [{ source: text }]
    return from.endsWith('testharnessreport.js') ? [] : [{ path: posix.resolve('/', dirname(path), from) }]
  })
  const isTest = scripts.some((script) => script.path === HARNESS[0].path)
  return { scripts: isTest ? scripts : null, variants: [''], isLong: /name="?timeout"? content="?long/.test(source) }
}

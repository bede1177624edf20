// Runs one file of the web platform tests in this process, with one of the fetches in the place of the global one, and sends its parent what
// became of each of its cases. Everything but `fetch` is Node’s own, under ours as well.
//
//   argument: { url, scripts: [{ url } | { source }], fetch: 'node' | 'trunkline' | 'undici', ca }

import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { runInThisContext } from 'node:vm'
import { eventSourceOf } from './event-source.mjs'

const { url, scripts, fetch: which, ca } = JSON.parse(process.argv[2])

/** By which Node's own Request and Response resolve what is relative, as setGlobalOrigin of undici's sets it. */
const NODES_ORIGIN = Symbol.for('undici.globalOrigin.1')

const location = new URL(url)
Object.assign(globalThis, {
  self: globalThis,
  window: globalThis,
  location,
  GLOBAL: { isWindow: () => true, isWorker: () => false, isShadowRealm: () => false },
})
Object.defineProperty(globalThis, NODES_ORIGIN, { value: location })

// Older Node has none; to a fetch it is bytes like any other.
globalThis.Float16Array ??= class Float16Array extends Uint16Array {}

if (which === 'trunkline') {
  const { Trunkline } = await import('../../index.js')
  const line = new Trunkline({
    baseURL: location.origin,
    apiKey: 'none',
    pool: { proxy: false, tls: { ca: readFileSync(ca, 'utf8') } },
  })
  globalThis.EventSource = eventSourceOf(line, location)
  globalThis.fetch = (input, init) => line.fetch(based(input), init)
}

// The package, with all of its own around it.
if (which === 'undici') {
  const { fetch, Headers, Request, Response, FormData } = await import('undici')
  Object.assign(globalThis, { fetch, Headers, Request, Response, FormData })
}

/** Ours has no document to resolve against. */
function based(input) {
  if (input instanceof Request || input instanceof URL) return input
  const text = String(input)
  return URL.canParse(text, location) ? new URL(text, location).href : text
}

/** By none of them. */
function read(from) {
  return new Promise((resolve, reject) => {
    get(from, { agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (piece) => {
        text += piece
      })
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text)
        else reject(new Error(`${from}: status ${response.statusCode}`))
      })
    }).on('error', reject)
  })
}

/** What is thrown beside the cases is an error of the file; the harness is told by itself where it listens. */
let stray
process.on('uncaughtException', (error) => {
  stray ??= String(error?.stack ?? error)
})
process.on('unhandledRejection', (error) => {
  stray ??= String(error?.stack ?? error)
})

const cases = []
let done = false
function send(status, message) {
  if (done) return
  done = true
  process.send({ cases, status, message, stray }, () => process.exit(0))
}

/** Told as they end, so that they are known should the rest of the file hang. */
function listen() {
  globalThis.add_result_callback(({ name, status, message }) => {
    cases.push({ name, passed: status === 0, message })
    process.send({ case: cases.at(-1) })
  })
  globalThis.add_completion_callback((_, { status, message }) => send(status, message))
}

try {
  for (const script of scripts) {
    const source = script.source ?? (await read(script.url))
    runInThisContext(source, { filename: script.url ?? url })
    if (script.url?.endsWith('/resources/testharness.js')) listen()
  }
  // As a page that is loaded.
  if (typeof globalThis.done === 'function' && cases.length === 0) globalThis.dispatchEvent?.(new Event('load'))
} catch (error) {
  send(1, String(error?.stack ?? error))
}

// What the suites have in common: each promise is kept with Node's own fetch and with a client's, and what a user sees is the same.
//
// `sdk.test.mjs` runs them, under a Node that is new enough for the SDKs. By hand: `node --test __test__/sdk/openai.mjs` with such a Node.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MockUpstream } from '../../testing.js'
import { serve } from '../fetch/support.mjs'
import { client, until } from '../support.mjs'
import { ROWS } from './table.mjs'

export { collect, REQUEST, rejection, until } from '../support.mjs'

/** Longer than any promise should take; a broken one ends there. */
const PATIENCE = 60_000

/** Node's own, as it was. */
const nodes = globalThis.fetch

/**
 * A promise of a row of the table. `run(site)` acts as a user does, asserts what must hold, and returns what the user has seen. That is held against what is
 * seen with Node's own fetch, and so is every request that was made.
 */
export function alike(row, name, run) {
  promise(row, name, async (t) => {
    const theirs = await perform(t, nodes, run)
    const ours = await perform(t, client(t, 'http://127.0.0.1:9').fetch, run)
    assert.deepEqual(ours.seen, theirs.seen, 'what the user sees')
    assert.deepEqual(ours.asked, theirs.asked, 'what is asked')
  })
}

/** A promise that Node's own fetch does not make. `run(site)` has the client as `line`; `upstream` are the options of the stand-in. */
export function own(row, name, { upstream: how, ...options }, run) {
  promise(row, name, async (t) => {
    const upstream = await started(t, how)
    const line = client(t, upstream, options)
    await run({ t, line, fetch: line.fetch, upstream, url: `${upstream.url}/v1` })
  })
}

/** What an SDK makes of the global fetch is what it makes of one that it is given: `run(site)` as with `alike`, without a fetch. */
export function global(run) {
  alike('global', 'in the place of the global one it is under an SDK that is told of none', async (site) => {
    globalThis.fetch = site.fetch
    try {
      return await run({ ...site, fetch: undefined })
    } finally {
      globalThis.fetch = nodes
    }
  })
}

function promise(row, name, run) {
  assert.ok(row in ROWS, `no row: ${row}`)
  test(`${row}: ${name}`, { timeout: PATIENCE }, run)
}

async function perform(t, fetch, run) {
  const upstream = await started(t)
  const asked = []
  const site = {
    t,
    fetch,
    upstream,
    /** The base URL for an SDK. */
    url: `${upstream.url}/v1`,
    /** One where nobody listens. */
    nowhere: await nowhere(),
    /** A server of Node's, where bytes matter: its base URL. */
    serve: async (answer) => {
      const url = await serve(t, (request, response, body) => {
        asked.push({ method: request.method, path: request.url, headers: { ...request.headers } })
        return answer(request, response, body)
      })
      return `${url}/v1`
    },
  }
  const seen = plain((await run(site)) ?? null)
  for (const { method, path, headers, body } of upstream.requests) asked.push({ method, path, headers, body })
  // Of the connection, and not of the request: HTTP/1.1 keeps it alive unasked.
  for (const { headers } of asked) delete headers.connection
  return { seen, asked: plain(asked) }
}

async function nowhere() {
  const upstream = await MockUpstream.start()
  await upstream.close()
  return `${upstream.url}/v1`
}

async function started(t, how) {
  const upstream = await MockUpstream.start(how)
  t.after(() => upstream.close())
  return upstream
}

/** As data, without what differs from run to run. */
function plain(value) {
  const text = JSON.stringify(value, (_, item) => (item instanceof Error ? described(item) : item))
  return JSON.parse(text, (_, item) => (typeof item === 'string' ? timeless(item) : item))
}

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g
const BOUNDARY = /(boundary=|--)[-\w]*(formdata|openai)[-\w]*/gi

function timeless(text) {
  return text
    .replaceAll(/127\.0\.0\.1:\d+/g, 'host')
    .replaceAll(UUID, 'uuid')
    .replaceAll(BOUNDARY, '$1boundary')
}

/**
 * An error as its user may look at it. Below an SDK's is that of fetch, and below that what tells of the network, in words of ours or of Node's: its code is
 * what they have in common, and what programs go by.
 */
function described(error) {
  const { name, message, cause } = error
  if (isOfNetwork(error)) return { code: codeOf(error) }
  if (error instanceof TypeError) return { name, message, code: cause && codeOf(cause) }
  const { stack, headers, ...fields } = error
  const words = isOfNetwork(cause) ? message.replace(cause.message, '…') : message
  return {
    class: error.constructor.name,
    ...fields,
    name,
    message: words,
    cause: cause instanceof Error ? cause : undefined,
  }
}

function isOfNetwork(error) {
  return error instanceof Error && /^(E[A-Z]+|UND_ERR_[A-Z_]+)$/.test(error.code)
}

/** A server that hangs up is told by either of two codes, by Node's fetch too: it depends on what is seen of it first. */
function codeOf({ code }) {
  return code === 'ECONNRESET' || code === 'UND_ERR_SOCKET' ? 'ECONNRESET or UND_ERR_SOCKET' : code
}

/** The upstream has no connections any more: at once, by ours. Node's own keeps some for seconds. */
export async function gone({ fetch = globalThis.fetch, upstream }) {
  if (fetch !== nodes) await until(() => upstream.connections.open === 0)
}

/** An answer of server-sent events, by their type or without. */
export function events(...items) {
  const lines = items.map((item) => {
    const data = typeof item === 'string' ? item : JSON.stringify(item)
    return `${item.type === undefined ? '' : `event: ${item.type}\n`}data: ${data}\n\n`
  })
  return { raw: { body: lines.join(''), contentType: 'text/event-stream' } }
}

/** Reads a form as a server does. */
export async function formOf(request, body) {
  return new Response(body, { headers: { 'content-type': request.headers['content-type'] } }).formData()
}

export function json(response, value) {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(value))
}

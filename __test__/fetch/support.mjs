// What tests of fetch have in common: each promise is run against Node's own fetch and against ours.

import { createServer } from 'node:http'
import { test } from 'node:test'
import { client } from '../support.mjs'

/** Longer than any test should take; a broken promise ends there. */
const PATIENCE = 60_000

/** Node's own, as it was. */
const nodes = globalThis.fetch

/**
 * A test of what both must do: `run(t, fetch, which)`, `which` being 'node' or 'trunkline'.
 */
export function both(name, run) {
  test(name, async (t) => {
    await t.test('node', { timeout: PATIENCE }, (t) => run(t, nodes, 'node'))
    await t.test('trunkline', { timeout: PATIENCE }, (t) => run(t, ours(t), 'trunkline'))
  })
}

/** A client's fetch; the client has a pool of its own, and ends with the test. */
export function ours(t, options) {
  return client(t, 'http://127.0.0.1:9', options).fetch
}

/** A server of Node's: `answer(request, response, body)` once the request is there. Its URL. */
export async function serve(t, answer) {
  const server = createServer((request, response) => {
    const chunks = []
    request.on('error', () => {})
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', () => answer(request, response, Buffer.concat(chunks)))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}

/** A server that answers with what it was asked. */
export function echo(t) {
  return serve(t, ({ method, url, headers, rawHeaders }, response, body) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ method, url, headers, rawHeaders, body: body.toString('latin1') }))
  })
}

/** A stream of these texts. */
export function streamOf(...texts) {
  const encoder = new TextEncoder()
  return new ReadableStream({
    pull(controller) {
      const text = texts.shift()
      if (text === undefined) controller.close()
      else controller.enqueue(encoder.encode(text))
    },
  })
}

export async function rejected(promise) {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('expected a rejection')
}

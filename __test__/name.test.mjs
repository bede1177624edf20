import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import test from 'node:test'
import { Worker } from 'node:worker_threads'
import { ConfigError, Trunkline } from 'trunkline'
import { client, collected, own, REQUEST, rejection, root, start, until } from './support.mjs'

/** A worker with a client of these options as `line`; it says what `source` returns. */
function worker(t, options, source) {
  const text = `
    const { workerData, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(root)})
    const line = new Trunkline(workerData.options)
    const { REQUEST } = workerData
    ;(async () => { ${source} })().then(
      (said) => parentPort.postMessage(said),
      (error) => parentPort.postMessage(String(error.stack)),
    )`
  const made = new Worker(text, { eval: true, workerData: { options, REQUEST } })
  t.after(() => made.terminate())
  return once(made, 'message').then(([said]) => said)
}

const COMPLETION = JSON.stringify({
  id: 'c',
  object: 'chat.completion',
  model: 'gpt-test',
  choices: [{ index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' }],
})

/** A server that lets its requests wait until so many are there, and a little longer; it counts how many are there at once. */
async function counting(t, enough) {
  const waiting = new Set()
  const seen = { most: 0, all: 0 }
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      seen.all++
      waiting.add(response)
      seen.most = Math.max(seen.most, waiting.size)
      if (waiting.size !== enough) return
      // For those that should not come.
      setTimeout(() => {
        for (const each of waiting) each.writeHead(200, { 'content-type': 'application/json' }).end(COMPLETION)
        waiting.clear()
      }, 20)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${server.address().port}`, seen }
}

test('one limit of calls at once holds for clients of one name, in workers too', async (t) => {
  const { url, seen } = await counting(t, 3)
  const options = { name: 'turns', concurrency: { max: 3 } }
  const [one, other] = [client(t, url, options), client(t, url, options)]
  const there = worker(
    t,
    own({ baseURL: `${url}/v1`, ...options }),
    `const all = await Promise.all(Array.from({ length: 12 }, () => line.chat(REQUEST)))
     return { answers: all.length, started: line.metrics().requests.started }`,
  )
  const here = [one, other].flatMap((line) => Array.from({ length: 9 }, () => line.chat(REQUEST)))
  assert.equal((await Promise.all(here)).length, 18)
  assert.deepEqual(await there, { answers: 12, started: 12 })
  assert.deepEqual(seen, { most: 3, all: 30 })
  assert.equal(one.metrics().requests.started, 9, 'calls are counted by whose they are')
})

test('a circuit that one opens refuses the other, in a worker too, and all are told', async (t) => {
  const options = { name: 'circuits', retry: false, circuitBreaker: { failureThreshold: 2, recoveryTimeout: 600_000 } }
  const { upstream, line } = await start(t, options)
  const other = client(t, upstream, options)
  const told = []
  for (const [who, each] of [line, other].entries()) each.on('circuit', ({ state }) => told.push(`${who} ${state}`))
  upstream.fault({ kind: 'status', status: 500 }, { times: 2 })
  for (const each of [line, other]) assert.equal((await rejection(each.chat(REQUEST))).status, 500)
  assert.equal((await rejection(line.chat(REQUEST))).code, 'ERR_CIRCUIT_OPEN')
  const there = await worker(
    t,
    own({ baseURL: `${upstream.url}/v1`, ...options }),
    `try { await line.chat(REQUEST) } catch (error) { return error.code }`,
  )
  assert.equal(there, 'ERR_CIRCUIT_OPEN')
  assert.equal(upstream.requests.length, 2)
  await until(() => told.length === 2)
  assert.deepEqual(told.sort(), ['0 open', '1 open'])
  for (const each of [line, other]) assert.equal(each.metrics().circuits['default/gpt-test'].state, 'open')
})

test('an answer that one keeps serves the other, in a worker too', async (t) => {
  const options = { name: 'answers', cache: { when: 'all' } }
  const { upstream, line } = await start(t, options)
  const other = client(t, upstream, options)
  const { data } = await line.chat(REQUEST).withMeta()
  const again = await other.chat(REQUEST).withMeta()
  assert.deepEqual([again.data, again.meta.cached], [data, true])
  const there = await worker(
    t,
    own({ baseURL: `${upstream.url}/v1`, ...options }),
    `return (await line.chat(REQUEST).withMeta()).meta.cached`,
  )
  assert.equal(there, true)
  assert.equal(upstream.requests.length, 1)
  assert.equal(line.metrics().cache.hits, 2)
})

test('a budget is spent by all together, and all are told', async (t) => {
  const options = {
    name: 'budget',
    pricing: { 'gpt-test': { input: 1000, output: 1000 } },
    budget: { limit: 0.2, alertAt: [1] },
  }
  const { upstream, line } = await start(t, options)
  const usage = { prompt_tokens: 60, completion_tokens: 40, total_tokens: 100 }
  upstream.reply({}, { content: 'hi', usage })
  const other = client(t, upstream, options)
  const told = []
  for (const each of [line, other]) each.on('budget', ({ share }) => told.push(share))
  const request = { ...REQUEST, max_tokens: 40 }
  await line.chat(request)
  await other.chat(request)
  assert.equal((await rejection(line.chat(request))).code, 'ERR_BUDGET_EXCEEDED')
  for (const each of [line, other]) {
    assert.equal(each.costs().total, 0.2)
    assert.equal(each.costs().budget.spent, 0.2)
    assert.equal(each.savings().cost, 0.2)
  }
  await until(() => told.length === 2)
  assert.deepEqual(told, [1, 1])
  assert.equal(upstream.requests.length, 2)
})

test('other settings of what is shared are refused by their path until all of the name have closed', async (t) => {
  const options = { name: 'settings', rateLimit: { requestsPerSecond: 50 }, cache: {} }
  const { upstream, line } = await start(t, options)
  const other = client(t, upstream, options)
  const differs = (given, path) =>
    assert.throws(
      () => client(t, upstream, { ...options, ...given }),
      (error) =>
        error instanceof ConfigError && error.message.startsWith(`${path}: differs from that of another client`),
    )
  differs({ rateLimit: { requestsPerSecond: 51 } }, 'rateLimit')
  differs({ cache: { maxBytes: 1000 } }, 'cache.maxBytes')
  differs({ budget: { limit: 1 } }, 'budget')
  differs({ protocol: 'anthropic' }, 'protocol')
  await line.close()
  differs({ rateLimit: {} }, 'rateLimit')
  await other.chat(REQUEST)
  await other.close()
  const third = client(t, upstream, { ...options, rateLimit: {} })
  await third.chat(REQUEST)
  for (const name of ['', 'n'.repeat(129)]) {
    assert.throws(() => new Trunkline({ name }), {
      name: 'ConfigError',
      message: /^name: must have 1 to 128 characters/,
    })
  }
})

test('a client that nobody holds any more gives its name back', async (t) => {
  const { upstream } = await start(t)
  const options = (more) => own({ name: 'collected', baseURL: `${upstream.url}/v1`, apiKey: 'k', ...more })
  const held = await (async () => {
    const line = new Trunkline(options({ cache: {} }))
    await line.chat(REQUEST)
    return new WeakRef(line)
  })()
  assert.throws(() => new Trunkline(options({ cache: false })), /^ConfigError: cache: differs/)
  await collected(held)
  const line = await until(() => {
    globalThis.gc()
    try {
      return new Trunkline(options({ cache: false }))
    } catch {
      return undefined
    }
  }, 'the name is free')
  await line.close()
})

test('a worker that ends without closing gives its name back', async (t) => {
  const { upstream } = await start(t)
  const options = own({ name: 'worker', baseURL: `${upstream.url}/v1`, apiKey: 'k' })
  const text = `
    const { workerData, parentPort } = require('node:worker_threads')
    const { Trunkline } = require(${JSON.stringify(root)})
    globalThis.line = new Trunkline(workerData)
    line.chat({ model: 'm', messages: [] }).then(() => parentPort.postMessage('made'))
    parentPort.on('message', () => {})`
  const made = new Worker(text, { eval: true, workerData: options })
  t.after(() => made.terminate())
  assert.deepEqual(await once(made, 'message'), ['made'])
  const other = { ...options, concurrency: { max: 1 } }
  assert.throws(() => new Trunkline(other), /^ConfigError: concurrency: differs/)
  await made.terminate()
  const line = await until(() => {
    try {
      return new Trunkline(other)
    } catch {
      return undefined
    }
  }, 'the name is free')
  await line.close()
})

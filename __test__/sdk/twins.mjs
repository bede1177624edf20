// What `openai` and `@anthropic-ai/sdk` promise alike, both made by one generator.

import assert from 'node:assert/strict'
import { alike, collect, gone, rejection, until } from './support.mjs'

const RETRY_AT_ONCE = { 'retry-after-ms': '1' }

/**
 * `Sdk` is the package's class, `client(site, options)` makes one of it, `create(sdk, request, options)` asks for an answer to `request`, whole or streamed;
 * `classes` are those of its errors by status.
 */
export function twins({ Sdk, client, create, request, classes }) {
  const streamed = { ...request, stream: true }
  const ask = (site, ...more) => create(client(site), request, ...more)
  const stream = (site, ...more) => create(client(site), streamed, ...more)

  alike('chat', 'a raw response, read as its user likes', async (site) => {
    const raw = await ask(site).asResponse()
    const copy = raw.clone()
    const whole = await raw.json()
    assert.deepEqual(JSON.parse(await copy.text()), whole)
    return whole
  })

  alike('streams', 'one that is left early ends upstream', async (site) => {
    site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
    site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
    for await (const _ of await stream(site)) break
    await gone(site)
  })

  alike('streams', 'one that is split in two, and one that goes on as bytes', async (site) => {
    site.upstream.reply({}, { content: 'One two three', chunks: 5 })
    const [left, right] = (await stream(site)).tee()
    const both = await Promise.all([collect(left), collect(right)])
    assert.ok(both[0].length > 5)
    assert.deepEqual(both[0], both[1])
    return [both, await new Response((await stream(site)).toReadableStream()).text()]
  })

  alike('errors', 'each status has its class, and its status, headers, request id and words', async (site) => {
    const all = []
    for (const [status, name] of Object.entries(classes)) {
      for (const way of [ask, stream]) {
        site.upstream.fault({ kind: 'status', status: Number(status), headers: { 'x-mine': status } })
        const error = await rejection(way(site))
        assert.ok(error instanceof Sdk[name] && error instanceof Sdk.APIError, `${status}: ${error}`)
        assert.deepEqual([error.status, error.headers.get('x-mine')], [Number(status), status])
        assert.ok(error.error, 'what the server said')
        all.push(error)
      }
    }
    return all
  })

  alike('errors', 'an error in the middle of a stream', async (site) => {
    site.upstream.fault({ kind: 'error-in-stream', afterTokens: 2 })
    const error = await rejection(stream(site).then(collect))
    assert.ok(error instanceof Sdk.APIError)
    return error
  })

  alike('connection', 'one that is refused, or hung up before the head, is an APIConnectionError', async (site) => {
    site.upstream.fault({ kind: 'reset', after: 'request' })
    const reset = await rejection(ask(site))
    site.upstream.fault({ kind: 'garbage' })
    const garbage = await rejection(ask(site))
    const refused = await rejection(ask({ ...site, url: site.nowhere }))
    for (const error of [reset, garbage, refused]) {
      assert.ok(error instanceof Sdk.APIConnectionError)
      assert.equal(error.cause.message, 'fetch failed')
    }
    assert.equal(refused.cause.cause.code, 'ECONNREFUSED')
    return [reset, garbage.message, refused]
  })

  alike('connection', 'one that breaks in an answer or a stream fails, after what had come', async (site) => {
    site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
    const seen = []
    for (const fault of [
      { kind: 'cut', afterTokens: 5 },
      { kind: 'reset', after: 5 },
    ]) {
      site.upstream.fault(fault)
      seen.push(await rejection(ask(site)))
      site.upstream.fault(fault)
      seen.push(await rejection(collect(await stream(site))))
    }
    for (const error of seen) assert.match(error.message, /terminated|Connection error/)
    return seen
  })

  alike('retries', 'as many, after the same, and announced in the same headers', async (site) => {
    const { upstream } = site
    const sdk = client(site, { maxRetries: 2 })
    const fail = (status, headers = RETRY_AT_ONCE) => upstream.fault({ kind: 'status', status, headers })
    for (const status of [408, 409, 429, 500, 529]) {
      fail(status)
      await create(sdk, request)
    }
    upstream.fault({ kind: 'reset', after: 'request' })
    fail(503)
    await create(sdk, request)
    assert.equal(upstream.requests.length, 13)
    const counts = upstream.requests.map(({ headers }) => headers['x-stainless-retry-count'])
    assert.deepEqual(counts.slice(-3), ['0', '1', '2'])
    for (let n = 0; n < 3; n++) fail(503)
    const worn = await rejection(create(sdk, request))
    fail(503, { 'x-should-retry': 'false' })
    const told = await rejection(create(sdk, request))
    assert.equal(upstream.requests.length, 17)
    return [worn, told]
  })

  alike(
    'timeouts',
    'one that passes is an APIConnectionTimeoutError, and is tried again where the SDK is told to',
    async (site) => {
      site.upstream.fault({ kind: 'silence', for: 60_000 }, { times: 2 })
      const error = await rejection(create(client(site, { timeout: 80 }), request))
      assert.ok(error instanceof Sdk.APIConnectionTimeoutError)
      await create(client(site, { timeout: 2_000, maxRetries: 1 }), request)
      assert.equal(site.upstream.requests.length, 3)
      return error
    },
  )

  alike('aborts', 'before it begins, and while it waits, are APIUserAbortErrors', async (site) => {
    const early = await rejection(ask(site, { signal: AbortSignal.abort() }))
    assert.equal(site.upstream.requests.length, 0)
    site.upstream.fault({ kind: 'silence', for: 60_000 })
    const controller = new AbortController()
    const answer = rejection(ask(site, { signal: controller.signal }))
    await until(() => site.upstream.requests.length === 1)
    controller.abort()
    const late = await answer
    for (const error of [early, late]) assert.ok(error instanceof Sdk.APIUserAbortError)
    await gone(site)
    return [early, late]
  })

  alike(
    'aborts',
    'a stream that is aborted, by its own controller or its caller’s, ends, and its connection closes',
    async (site) => {
      site.upstream.reply({}, { content: 'word '.repeat(50), chunks: 50 })
      for (const own of [true, false]) {
        site.upstream.fault({ kind: 'stall', afterTokens: 3, for: 60_000 })
        const controller = new AbortController()
        const events = await stream(site, { signal: controller.signal })
        let seen = 0
        for await (const _ of events) if (++seen === 3) (own ? events.controller : controller).abort()
        assert.ok(seen >= 3 && seen < 50)
        await gone(site)
      }
    },
  )
}

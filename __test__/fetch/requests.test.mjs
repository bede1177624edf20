// What is sent: inputs, methods, headers, bodies.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { client, until } from '../support.mjs'
import { both, echo, ours, rejected, serve, streamOf } from './support.mjs'

const post = (body, more) => ({ method: 'POST', body, ...more })

both('a URL may be a text, a URL or a Request', async (t, fetch) => {
  const url = await echo(t)
  for (const input of [`${url}/a?b=c#d`, new URL(`${url}/a?b=c#d`), new Request(`${url}/a?b=c#d`)]) {
    const response = await fetch(input)
    assert.equal(response.url, `${url}/a?b=c`)
    assert.equal((await response.json()).url, '/a?b=c')
  }
  assert.equal((await (await fetch(`${url}/ä b?ü=1`)).json()).url, '/%C3%A4%20b?%C3%BC=1')
})

both('a Request is sent as it is, and what fetch is told goes before it', async (t, fetch) => {
  const url = await echo(t)
  const request = () => new Request(url, post('from the request', { headers: { 'x-a': '1', 'content-type': 'a/b' } }))
  const sent = await (await fetch(request())).json()
  assert.deepEqual(
    [sent.method, sent.body, sent.headers['x-a'], sent.headers['content-type']],
    ['POST', 'from the request', '1', 'a/b'],
  )
  assert.equal(sent.headers['content-length'], '16')
  const other = await (await fetch(request(), { method: 'PUT', body: 'other', headers: { 'x-b': '2' } })).json()
  assert.deepEqual(
    [other.method, other.body, other.headers['x-a'], other.headers['x-b']],
    ['PUT', 'other', undefined, '2'],
  )
  const used = request()
  await fetch(used)
  assert.equal(used.bodyUsed, true)
  assert.ok((await rejected(fetch(used))) instanceof TypeError)
})

both('headers of every kind arrive', async (t, fetch) => {
  const url = await echo(t)
  const kinds = [
    { 'X-One': ' 1 ', 'x-two': 'é' },
    [
      ['X-One', '1'],
      ['x-two', 'é'],
    ],
    new Headers({ 'X-One': '1', 'x-two': 'é' }),
    new Map([
      ['X-One', '1'],
      ['x-two', 'é'],
    ]),
  ]
  for (const headers of kinds) {
    const sent = await (await fetch(url, { headers })).json()
    assert.deepEqual([sent.headers['x-one'], sent.headers['x-two']], ['1', 'é'])
  }
  const twice = await (
    await fetch(url, {
      headers: [
        ['x-a', '1'],
        ['X-A', '2'],
      ],
    })
  ).json()
  assert.equal(twice.headers['x-a'], '1, 2')
  const number = await (await fetch(url, { headers: { 'x-number': 5 } })).json()
  assert.equal(number.headers['x-number'], '5')
})

both('bodies of every kind arrive, each with its type and its length', async (t, fetch) => {
  const url = await echo(t)
  const bytes = new TextEncoder().encode('bytes')
  const cases = [
    ['täxt', 'text/plain;charset=UTF-8', 'täxt'],
    ['', 'text/plain;charset=UTF-8', ''],
    ['a\ud800b', 'text/plain;charset=UTF-8', 'a\ufffdb'],
    [bytes, undefined, 'bytes'],
    [bytes.buffer, undefined, 'bytes'],
    [new DataView(bytes.buffer, 1, 3), undefined, 'yte'],
    [new Uint16Array([0x6161, 0x6262]), undefined, 'aabb'],
    [Buffer.from('buffer'), undefined, 'buffer'],
    [new URLSearchParams({ a: 'b c', d: 'é' }), 'application/x-www-form-urlencoded;charset=UTF-8', 'a=b+c&d=%C3%A9'],
    [new Blob(['blob']), undefined, 'blob'],
    [new Blob(['blob'], { type: 'text/x' }), 'text/x', 'blob'],
    [{ toString: () => 'an object' }, 'text/plain;charset=UTF-8', 'an object'],
  ]
  for (const [body, type, expected] of cases) {
    const sent = await (await fetch(url, post(body))).json()
    assert.equal(Buffer.from(sent.body, 'latin1').toString(), expected)
    assert.equal(sent.headers['content-type'], type)
    assert.equal(sent.headers['content-length'], String(Buffer.byteLength(expected)))
    assert.equal(sent.headers['transfer-encoding'], undefined)
  }
  for (const body of [undefined, null]) {
    const sent = await (await fetch(url, post(body))).json()
    assert.deepEqual([sent.body, sent.headers['content-length'], sent.headers['content-type']], ['', '0', undefined])
  }
})

both('a type that is given is kept', async (t, fetch) => {
  const url = await echo(t)
  for (const body of ['{}', new URLSearchParams('a=b'), new Blob(['x'], { type: 'text/x' })]) {
    const sent = await (await fetch(url, post(body, { headers: { 'Content-Type': 'application/json' } }))).json()
    assert.equal(sent.headers['content-type'], 'application/json')
  }
})

both('a form is multipart, with its boundary and its length', async (t, fetch) => {
  const url = await echo(t)
  const form = new FormData()
  form.set('name', 'väl"ue\n')
  form.set('file', new File(['the file'], 'fi"le.txt', { type: 'text/x' }))
  const sent = await (await fetch(url, post(form))).json()
  const [, boundary] = /^multipart\/form-data; boundary=(.+)$/.exec(sent.headers['content-type'])
  assert.equal(Number(sent.headers['content-length']), sent.body.length)
  const back = await new Response(Buffer.from(sent.body, 'latin1'), {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  }).formData()
  assert.equal(back.get('name'), 'väl"ue\r\n')
  assert.deepEqual(
    [back.get('file').name, back.get('file').type, await back.get('file').text()],
    ['fi"le.txt', 'text/x', 'the file'],
  )
})

both('a stream arrives piece by piece, and needs duplex to be half', async (t, fetch) => {
  const url = await echo(t)
  const sent = await (await fetch(url, post(streamOf('one ', '', 'two ', 'three', ''), { duplex: 'half' }))).json()
  assert.deepEqual(
    [sent.body, sent.headers['transfer-encoding'], sent.headers['content-length']],
    ['one two three', 'chunked', undefined],
  )
  assert.ok((await rejected(fetch(url, post(streamOf('x'))))) instanceof TypeError)
  async function* generated() {
    yield new TextEncoder().encode('gene')
    yield new TextEncoder().encode('rated')
  }
  assert.equal((await (await fetch(url, post(generated(), { duplex: 'half' }))).json()).body, 'generated')
})

both('a stream in a Request arrives, and what it says later too', async (t, fetch) => {
  const url = await echo(t)
  let more
  const later = new Promise((resolve) => (more = resolve))
  const stream = new ReadableStream({
    async start(controller) {
      controller.enqueue(new TextEncoder().encode('first '))
      await later
      controller.enqueue(new TextEncoder().encode('later'))
      controller.close()
    },
  })
  const answer = fetch(new Request(url, post(stream, { duplex: 'half' })))
  setTimeout(more, 50)
  assert.equal((await (await answer).json()).body, 'first later')
})

both('a stream that errors half way fails the fetch with that error', async (t, fetch) => {
  const url = await echo(t)
  const broken = new Error('broken')
  let pulls = 0
  const stream = new ReadableStream({
    pull(controller) {
      if (pulls++ === 0) controller.enqueue(new TextEncoder().encode('x'))
      else controller.error(broken)
    },
  })
  const error = await rejected(fetch(url, post(stream, { duplex: 'half' })))
  assert.ok(error === broken || error.cause === broken, String(error))
})

// Node's own sends such a stream as one without anything in it.
test('a stream of anything but bytes fails the fetch', async (t) => {
  const fetch = ours(t)
  const url = await echo(t)
  const stream = new ReadableStream({
    start(controller) {
      controller.enqueue('text')
      controller.close()
    },
  })
  assert.ok((await rejected(fetch(url, post(stream, { duplex: 'half' })))) instanceof TypeError)
})

both('used and locked bodies are refused', async (t, fetch) => {
  const url = await echo(t)
  const locked = streamOf('x')
  locked.getReader()
  const read = streamOf('x')
  const reader = read.getReader()
  await reader.read()
  reader.releaseLock()
  for (const body of [locked, read]) {
    assert.ok((await rejected(fetch(url, post(body, { duplex: 'half' })))) instanceof TypeError)
  }
})

both('what fetch refuses is refused, as a TypeError', async (t, fetch) => {
  const url = await echo(t)
  const refused = [
    ['not a URL'],
    ['/relative'],
    ['http://'],
    [`${url.replace('http://', 'http://user:secret@')}/`],
    [url, { method: 'CONNECT' }],
    [url, { method: 'TRACE' }],
    [url, { method: 'track' }],
    [url, { method: 'in valid' }],
    [url, { method: '' }],
    [url, { body: 'x' }],
    [url, { method: 'HEAD', body: 'x' }],
    [url, { headers: { 'in valid': 'x' } }],
    [url, { headers: { 'x-a': 'a\nb' } }],
    [url, { headers: { 'x-a': '€' } }],
    [url, { headers: [['x']] }],
    [url, { headers: 'x' }],
    [url, { headers: null }],
    [url, { signal: {} }],
    [url, { redirect: 'no' }],
    [url, { mode: 'navigate' }],
    [url, { window: 'x' }],
    [url, 'init'],
    [],
    [url, { headers: { expect: '100-continue' } }],
    [url, { headers: { 'transfer-encoding': 'chunked' } }],
    [url, { headers: { 'keep-alive': 'timeout=5' } }],
    [url, { headers: { upgrade: 'x' } }],
    [url, post('abc', { headers: { 'content-length': '4' } })],
    [url.replace(/:\d+$/, ':25')],
    ['ftp://127.0.0.1/'],
    ['about:nothing'],
  ]
  for (const parameters of refused) {
    const error = await rejected(fetch(...parameters))
    assert.ok(error instanceof TypeError, `${JSON.stringify(parameters)}: ${error}`)
  }
})

test('where Node names what is refused by a code, so do we', async (t) => {
  const url = await echo(t)
  const line = ours(t)
  for (const init of [
    { headers: { expect: '100-continue' } },
    { headers: { 'transfer-encoding': 'chunked' } },
    { method: 'POST', body: 'abc', headers: { 'content-length': '4' } },
  ]) {
    const [theirs, own] = [await rejected(globalThis.fetch(url, init)), await rejected(line(url, init))]
    assert.deepEqual([own.message, own.cause.code], [theirs.message, theirs.cause.code], JSON.stringify(init))
  }
})

both('methods are normalised as fetch does', async (t, fetch) => {
  const url = await echo(t)
  for (const [method, sent] of [
    ['get', 'GET'],
    ['post', 'POST'],
    ['delete', 'DELETE'],
    ['PATCH', 'PATCH'],
    ['options', 'OPTIONS'],
    ['PROPFIND', 'PROPFIND'],
  ]) {
    assert.equal((await (await fetch(url, { method })).json()).method, sent)
  }
})

both('the headers that fetch adds are added, and given way to', async (t, fetch) => {
  const url = await echo(t)
  const { headers } = await (await fetch(url)).json()
  assert.deepEqual([headers.accept, headers['accept-language'], headers['sec-fetch-mode']], ['*/*', '*', 'cors'])
  assert.equal(headers['accept-encoding'], 'gzip, deflate')
  assert.equal(headers.host, new URL(url).host)
  const own = { accept: 'a/b', 'accept-language': 'de', 'user-agent': 'me', 'accept-encoding': 'identity' }
  assert.partialDeepStrictEqual?.((await (await fetch(url, { headers: own })).json()).headers, own)
  const uncached = await (await fetch(url, { cache: 'no-store' })).json()
  assert.deepEqual([uncached.headers['cache-control'], uncached.headers.pragma], ['no-cache', 'no-cache'])
})

both("the host that is sent is the URL's own, whatever the headers say", async (t, fetch) => {
  const url = await echo(t)
  const { host } = new URL(url)
  const other = { Host: 'other.test' }
  for (const headers of [other, Object.entries(other), new Headers(other)]) {
    assert.equal((await (await fetch(url, { headers })).json()).headers.host, host)
  }
  assert.equal((await (await fetch(new Request(url, { headers: other }))).json()).headers.host, host)
  const elsewhere = await serve(t, (_request, response) => response.writeHead(302, { location: url }).end())
  assert.equal((await (await fetch(elsewhere, { headers: other })).json()).headers.host, host)
})

both('a URL is sent as its parser writes it', async (t, fetch) => {
  const url = await echo(t)
  for (const path of [
    '/a|b^c{d}"e<f>`g',
    '/?a|b^c{d}"e<f>`g\'h',
    '/%zz%',
    '//x//',
    '/a/../b/./c',
    '/[x]?[y]',
    '/ö?ö#ö',
    '?a',
    '/\\x',
  ]) {
    const response = await fetch(url + path)
    const { pathname, search } = new URL(url + path)
    assert.equal((await response.json()).url, pathname + search)
    assert.equal(response.url, url + pathname + search)
  }
})

test('who goes first is told by fetch’s own priority, or ours', async (t) => {
  const order = []
  const held = []
  const url = await serve(t, (request, response) => {
    order.push(request.url)
    if (request.url === '/first') held.push(response)
    else response.end()
  })
  const line = client(t, 'http://127.0.0.1:9', { pool: { maxConnections: 1 } })
  const first = line.fetch(`${url}/first`)
  await until(() => held.length === 1)
  const ways = {
    low: { priority: 'low' },
    plain: {},
    high: { priority: 'high' },
    ours: { headers: { 'trunkline-priority': 'background' } },
  }
  const rest = Object.entries(ways).map(async ([name, init]) => (await line.fetch(`${url}/${name}`, init)).text())
  const waiting = () => Object.values(line.metrics().queue.depth).reduce((sum, depth) => sum + depth)
  await until(() => waiting() === 4)
  held[0].end()
  await Promise.all([first.then((response) => response.text()), ...rest])
  assert.deepEqual(order, ['/first', '/high', '/plain', '/low', '/ours'])
})

test('how a request waits is told by headers that are not sent on', async (t) => {
  const url = await echo(t)
  const line = ours(t)
  const headers = { 'trunkline-priority': 'batch', 'trunkline-tenant': 'acme' }
  const sent = await (await line(url, { headers })).json()
  assert.deepEqual(
    Object.keys(sent.headers).filter((name) => name.startsWith('trunkline')),
    [],
  )
  const error = await rejected(line(url, { headers: { 'trunkline-priority': 'high' } }))
  assert.match(error.cause.message, /^trunkline-priority: must be one of critical, interactive, batch, background/)
})

// Node's own waits for ever where the length is too small.
test('a length that is not the body’s fails the fetch', async (t) => {
  const url = await echo(t)
  const line = ours(t)
  const bodies = [
    [() => 'abc', '2'],
    [() => 'abc', '4'],
    [() => new Uint8Array(3), '2'],
    [() => streamOf('a', 'bc'), '2'],
    [() => streamOf('a', 'bc'), '4'],
  ]
  for (const [body, length] of bodies) {
    const init = post(body(), { duplex: 'half', headers: { 'content-length': length } })
    assert.equal((await rejected(line(url, init))).cause.code, 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH')
  }
  const right = post(streamOf('a', 'bc'), { duplex: 'half', headers: { 'content-length': '3' } })
  const sent = await (await line(url, right)).json()
  assert.deepEqual(
    [sent.body, sent.headers['content-length'], sent.headers['transfer-encoding']],
    ['abc', '3', undefined],
  )
})

both('a large body arrives whole', async (t, fetch) => {
  const url = await serve(t, (_request, response, body) => response.end(String(body.length)))
  for (const body of ['x'.repeat(5_000_000), new Uint8Array(5_000_000), new Blob([new Uint8Array(5_000_000)])]) {
    assert.equal(await (await fetch(url, post(body))).text(), '5000000')
  }
})

// What comes back: the response, its headers, its body in every way that it can be read.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { brotliCompressSync, createGzip, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { client, rawServer, until } from '../support.mjs'
import { both, ours, rejected, serve } from './support.mjs'

const json = (t, text = '{"a":[1,"é"]}', headers = {}) =>
  serve(t, (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers })
    response.end(text)
  })

both('a response is a Response, and says what came', async (t, fetch) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(418, 'I am "a"', { 'set-cookie': ['a=1', 'b=2'], 'X-Many': ['1', '2'] })
    response.end('short and stout')
  })
  const response = await fetch(`${url}/tea#pot`)
  assert.ok(response instanceof Response)
  assert.equal(Object.prototype.toString.call(response), '[object Response]')
  assert.deepEqual(
    [response.status, response.ok, response.url, response.redirected, response.type, response.bodyUsed],
    [418, false, `${url}/tea`, false, 'basic', false],
  )
  assert.match(response.statusText, /^I am "a"$/)
  assert.equal(await response.text(), 'short and stout')
  assert.equal(response.bodyUsed, true)
  const made = new response.constructor('text', { status: 201, headers: response.headers })
  assert.ok(made instanceof Response && made.status === 201)
  assert.equal(made.headers.get('x-many'), '1, 2')
})

both('headers are Headers, and immutable', async (t, fetch) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(200, {
      'set-cookie': ['b=2', 'a=1'],
      'X-Many': ['1', '2'],
      'x-b': Buffer.from('é').toString('latin1'),
    })
    response.end()
  })
  const { headers } = await fetch(url)
  assert.ok(headers instanceof Headers)
  assert.equal(headers.get('X-MANY'), '1, 2')
  assert.equal(headers.get('x-none'), null)
  assert.equal(headers.has('set-cookie'), true)
  assert.equal(headers.get('set-cookie'), 'b=2, a=1')
  assert.deepEqual(headers.getSetCookie(), ['b=2', 'a=1'])
  const names = [
    'connection',
    'content-length',
    'date',
    'keep-alive',
    'set-cookie',
    'set-cookie',
    'transfer-encoding',
    'x-b',
    'x-many',
  ]
  const got = [...headers.keys()]
  assert.deepEqual(
    got,
    names.filter((name) => got.includes(name)),
  )
  assert.deepEqual([...headers], [...headers.entries()])
  assert.deepEqual([...headers.values()].length, got.length)
  const each = []
  headers.forEach((value, name) => void each.push([name, value]))
  assert.deepEqual(each, [...headers])
  assert.deepEqual([...new Headers(headers)], [...headers])
  for (const change of [() => headers.set('a', 'b'), () => headers.append('a', 'b'), () => headers.delete('a')]) {
    assert.throws(change, TypeError)
  }
  assert.throws(() => headers.get('in valid'), TypeError)
})

both('a body is read in every way', async (t, fetch) => {
  const text = '{"a":[1,"é"]}'
  const url = await json(t, text)
  const bytes = Buffer.from(text)
  assert.equal(await (await fetch(url)).text(), text)
  assert.deepEqual(await (await fetch(url)).json(), { a: [1, 'é'] })
  const buffer = await (await fetch(url)).arrayBuffer()
  assert.ok(buffer instanceof ArrayBuffer)
  assert.deepEqual(Buffer.from(buffer), bytes)
  const blob = await (await fetch(url)).blob()
  assert.deepEqual([blob.type, await blob.text()], ['application/json', text])
  const chunks = []
  for await (const chunk of (await fetch(url)).body) chunks.push(chunk)
  assert.ok(chunks.every((chunk) => chunk instanceof Uint8Array))
  assert.deepEqual(Buffer.concat(chunks), bytes)
  assert.equal(await new Response((await fetch(url)).body).text(), text)
})

both('a form is read', async (t, fetch) => {
  const url = await serve(t, (request, response) => {
    if (request.url === '/urlencoded') {
      response.writeHead(200, { 'content-type': 'application/x-www-form-urlencoded' })
      return response.end('a=b+c')
    }
    response.writeHead(200, { 'content-type': 'multipart/form-data; boundary=x' })
    response.end('--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb c\r\n--x--\r\n')
  })
  for (const path of ['/urlencoded', '/multipart']) {
    assert.equal((await (await fetch(url + path)).formData()).get('a'), 'b c')
  }
})

both('text is decoded as UTF-8 whatever its type says, without its mark', async (t, fetch) => {
  const url = await serve(t, (request, response) => {
    response.setHeader('content-type', 'text/plain; charset=latin1')
    response.end(request.url === '/mark' ? Buffer.from('\ufeff{"a":1}') : Buffer.from([0x61, 0xff, 0xe2, 0x82, 0x62]))
  })
  assert.equal(await (await fetch(`${url}/mark`)).text(), '{"a":1}')
  assert.deepEqual(await (await fetch(`${url}/mark`)).json(), { a: 1 })
  assert.equal((await (await fetch(`${url}/mark`)).arrayBuffer()).byteLength, 10)
  assert.equal(await (await fetch(`${url}/bad`)).text(), 'a\ufffd\ufffdb')
  assert.deepEqual([...new Uint8Array(await (await fetch(`${url}/bad`)).arrayBuffer())], [0x61, 0xff, 0xe2, 0x82, 0x62])
})

both('a body is read once', async (t, fetch) => {
  const url = await json(t)
  for (const read of ['text', 'json', 'arrayBuffer', 'blob']) {
    const response = await fetch(url)
    await response[read]()
    assert.equal(response.bodyUsed, true)
    for (const again of ['text', 'json', 'arrayBuffer', 'blob', 'formData']) {
      assert.ok((await rejected(response[again]())) instanceof TypeError)
    }
    assert.throws(() => response.clone(), TypeError)
  }
  const streamed = await fetch(url)
  const reader = streamed.body.getReader()
  assert.equal(streamed.bodyUsed, false)
  assert.ok((await rejected(streamed.text())) instanceof TypeError, 'a locked body')
  await reader.read()
  assert.equal(streamed.bodyUsed, true)
  const iterated = await fetch(url)
  for await (const _ of iterated.body) assert.equal(iterated.body.locked, true)
  assert.equal(iterated.bodyUsed, true)
})

both('a look at the stream takes nothing', async (t, fetch) => {
  const response = await fetch(await json(t))
  assert.ok(response.body instanceof ReadableStream)
  assert.equal(response.body, response.body)
  assert.deepEqual([response.body.locked, response.bodyUsed], [false, false])
  assert.deepEqual(await response.json(), { a: [1, 'é'] })
  assert.equal(response.bodyUsed, true)
})

both('JSON that is none is a SyntaxError', async (t, fetch) => {
  assert.ok((await rejected((await fetch(await json(t, 'nope'))).json())) instanceof SyntaxError)
  assert.ok((await rejected((await fetch(await json(t, ''))).json())) instanceof SyntaxError)
})

both('no body is null where there can be none, and empty where there is none', async (t, fetch) => {
  const url = await serve(t, (request, response) => {
    response.statusCode = Number(request.url.slice(1))
    response.end()
  })
  for (const status of [204, 205, 304]) {
    const response = await fetch(`${url}/${status}`)
    assert.deepEqual(
      [response.status, response.body, await response.text(), response.bodyUsed],
      [status, null, '', false],
    )
  }
  const head = await fetch(`${url}/200`, { method: 'HEAD' })
  assert.deepEqual([head.status, head.body, (await head.arrayBuffer()).byteLength], [200, null, 0])
  const empty = await fetch(`${url}/200`)
  assert.notEqual(empty.body, null)
  assert.equal(await empty.text(), '')
})

both('a clone reads the same, whichever is read first', async (t, fetch) => {
  const large = 'x'.repeat(500_000)
  for (const text of ['{"a":1}', JSON.stringify(large)]) {
    const url = await json(t, text)
    const one = await fetch(url)
    const other = one.clone()
    assert.ok(other instanceof Response)
    assert.deepEqual([other.status, other.url, other.headers.get('content-type')], [200, `${url}/`, 'application/json'])
    assert.deepEqual(await Promise.all([other.json(), one.text()]), [JSON.parse(text), text])
    assert.deepEqual([one.bodyUsed, other.bodyUsed], [true, true])
    const looked = await fetch(url)
    looked.body
    const copy = looked.clone()
    assert.deepEqual(await Promise.all([copy.clone().text(), looked.text()]), [text, text])
  }
})

both('bodies are unpacked, and their headers kept', async (t, fetch, which) => {
  const text = JSON.stringify({ text: 'hello '.repeat(20_000) })
  const packs = {
    gzip: gzipSync(text),
    'x-gzip': gzipSync(text),
    deflate: deflateSync(text),
    'deflate bare': deflateRawSync(text),
    br: brotliCompressSync(text),
    'gzip, br': brotliCompressSync(gzipSync(text)),
    identity: Buffer.from(text),
    unknown: Buffer.from(text),
    GZIP: gzipSync(text),
  }
  const url = await serve(t, (request, response) => {
    const name = decodeURIComponent(request.url.slice(1))
    response.writeHead(200, { 'content-encoding': name.replace(' bare', ''), 'content-type': 'application/json' })
    response.end(packs[name])
  })
  for (const name of Object.keys(packs)) {
    const response = await fetch(`${url}/${encodeURIComponent(name)}`)
    assert.equal(response.headers.get('content-encoding'), name.replace(' bare', ''))
    assert.equal(await response.text(), text, `${name} by ${which}`)
    const chunks = []
    for await (const chunk of (await fetch(`${url}/${encodeURIComponent(name)}`)).body) chunks.push(chunk)
    assert.equal(Buffer.concat(chunks).toString(), text)
  }
})

both('what is packed badly fails its reader, and not the fetch', async (t, fetch) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' })
    response.end('this is no gzip')
  })
  assert.ok((await rejected((await fetch(url)).text())) instanceof TypeError)
})

both('a packed stream comes as it is sent', async (t, fetch) => {
  let next
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' })
    const gzip = createGzip()
    gzip.pipe(response)
    const say = (text) => {
      gzip.write(text)
      gzip.flush()
    }
    say('data: 1\n\n')
    next = () => {
      say('data: 2\n\n')
      gzip.end()
    }
  })
  const reader = (await fetch(url)).body.getReader()
  assert.equal(Buffer.from((await reader.read()).value).toString(), 'data: 1\n\n')
  next()
  assert.equal(Buffer.from((await reader.read()).value).toString(), 'data: 2\n\n')
  assert.equal((await reader.read()).done, true)
})

test('a bomb is no answer', async (t) => {
  // Twice packed, a hundred megabytes are a few hundred bytes.
  const bomb = gzipSync(gzipSync(Buffer.alloc(100_000_000)))
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip, gzip' })
    response.end(bomb)
  })
  const line = ours(t)
  const error = await rejected(line(url).then((response) => response.arrayBuffer()))
  assert.match(error.cause.message, /unpacks to more than 250 times its size/)
  const response = await line(url)
  const reader = response.body.getReader()
  let read = 0
  const cut = await rejected(
    (async () => {
      for (;;) read += (await reader.read()).value.length
    })(),
  )
  assert.match(cut.cause.message, /unpacks to more/)
  assert.ok(read < 70_000_000)
})

test('a body that is cut off inside its packing is no success', async (t) => {
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' })
    response.end(gzipSync('x'.repeat(1000)).subarray(0, 15))
  })
  assert.match((await rejected((await ours(t)(url)).text())).message, /terminated/)
})

both('a response that breaks off fails its reader', async (t, fetch) => {
  const server = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart')
    setTimeout(() => socket.destroy(), 30)
  })
  const error = await rejected((await fetch(server.url)).text())
  assert.ok(error instanceof TypeError)
  assert.equal(error.message, 'terminated')
  assert.match(error.cause.code, /UND_ERR_SOCKET|ECONNRESET/)
  const reader = (await fetch(server.url)).body.getReader()
  assert.equal(Buffer.from((await reader.read()).value).toString(), 'part')
  assert.equal((await rejected(reader.read())).message, 'terminated')
  const read = []
  const cut = await rejected(
    (async () => {
      for await (const chunk of (await fetch(server.url)).body) read.push(chunk)
    })(),
  )
  assert.deepEqual([cut.message, Buffer.concat(read).toString()], ['terminated', 'part'])
})

both('pieces come as they are sent', async (t, fetch) => {
  let next
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('one')
    next = () => response.end('two')
  })
  const pieces = []
  for await (const chunk of (await fetch(url)).body) {
    pieces.push(Buffer.from(chunk).toString())
    next()
  }
  assert.deepEqual(pieces, ['one', 'two'])
})

both('a stream of bytes is read into memory of the reader’s own', async (t, fetch) => {
  const url = await serve(t, (_, response) => response.end('0123456789'))
  const reader = (await fetch(url)).body.getReader({ mode: 'byob' })
  let text = ''
  for (;;) {
    const { done, value } = await reader.read(new Uint8Array(4))
    if (done) break
    text += Buffer.from(value).toString()
  }
  assert.equal(text, '0123456789')
})

both('a reader that does not read holds the server up', async (t, fetch) => {
  let written = 0
  let ended = false
  const url = await serve(t, (_, response) => {
    const piece = Buffer.alloc(64 * 1024)
    const go = () => {
      while (written < 200_000_000) {
        written += piece.length
        if (!response.write(piece)) return void response.once('drain', go)
      }
      ended = true
      response.end()
    }
    go()
  })
  const response = await fetch(url)
  const reader = response.body.getReader()
  await reader.read()
  let before = -1
  await until(async () => {
    const stopped = before === written
    before = written
    for (let n = 0; n < 200; n++) await turn()
    return stopped
  }, 'the server is held up')
  assert.equal(ended, false)
  await reader.cancel()
})

both('leaving a body closes its connection', async (t, fetch) => {
  for (const leave of [
    (response) => response.body.cancel(),
    async (response) => {
      for await (const _ of response.body) break
    },
    async (response) => {
      const reader = response.body.getReader()
      await reader.read()
      await reader.cancel('enough')
    },
  ]) {
    let closed = false
    const url = await serve(t, (_, response) => {
      response.on('close', () => (closed = true))
      response.write('x')
    })
    await leave(await fetch(url))
    await until(() => closed)
  }
})

test('whoever leaves a stream after its last event leaves its connection whole', async (t) => {
  const sockets = new Set()
  const ends = []
  const url = await serve(t, (request, response) => {
    sockets.add(request.socket)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {}\n\ndata: [DONE]\n\n')
    ends.push(() => response.end())
  })
  const line = client(t, 'http://127.0.0.1:9')
  for (let n = 0; n < 3; n++) {
    for await (const _ of (await line.fetch(url)).body) break
    await until(() => line.metrics().requests.inFlight === 0)
    ends[n]()
    await until(() => line.metrics().pool.connections.idle === 1)
  }
  assert.equal(sockets.size, 1)
})

test('a response that is shown makes no stream, and shows no more than Node’s', async (t) => {
  const { inspect } = await import('node:util')
  const response = await ours(t)(await json(t))
  assert.match(inspect(response), /^Response \{.*status: 200.*bodyUsed: false/s)
  assert.deepEqual(await response.json(), { a: [1, 'é'] })
})

// Node's own knows it from 22.15 on.
test('zstd is unpacked too', async (t) => {
  const packed = Buffer.from('KLUv/QRobQAAMGhlbGxvIAEAp+QvRR/S/k4=', 'base64')
  const url = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-encoding': 'zstd' })
    response.end(packed)
  })
  assert.equal(await (await ours(t)(url)).text(), 'hello '.repeat(200))
})

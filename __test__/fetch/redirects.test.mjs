// Redirects, by mode: which method goes on, with what, and to whom.

import assert from 'node:assert/strict'
import { both, rejected, serve, streamOf } from './support.mjs'

/** `/<status>?to=<url>` redirects there; anything else tells what it was asked. */
function site(t) {
  return serve(t, (request, response, body) => {
    const url = new URL(request.url, 'http://x')
    const status = Number(url.pathname.slice(1))
    if (status) {
      const to = url.searchParams.get('to')
      response.writeHead(status, to === null ? {} : { location: to })
      return response.end('moved')
    }
    const left = /^\/left\/(\d+)$/.exec(url.pathname)
    if (left && left[1] !== '0') {
      response.writeHead(302, { location: `${left[1] - 1}` })
      return response.end()
    }
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body: body.toString() }),
    )
  })
}

both('a redirect is followed, and the response tells where it led', async (t, fetch) => {
  const url = await site(t)
  for (const status of [301, 302, 303, 307, 308]) {
    const response = await fetch(`${url}/${status}?to=/there%3Fa%3Db%23c`)
    assert.deepEqual([response.redirected, response.url], [true, `${url}/there?a=b`])
    assert.equal((await response.json()).url, '/there?a=b')
  }
  const relative = await fetch(`${url}/left/3`)
  assert.deepEqual([relative.redirected, relative.url], [true, `${url}/left/0`])
})

both('the method and the body go on or do not, by status', async (t, fetch) => {
  const url = await site(t)
  const cases = [
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [303, 'POST', 'GET'],
    [307, 'POST', 'POST'],
    [308, 'POST', 'POST'],
    [301, 'PUT', 'PUT'],
    [303, 'PUT', 'GET'],
    [302, 'DELETE', 'DELETE'],
    [303, 'DELETE', 'GET'],
  ]
  for (const [status, method, then] of cases) {
    const init = { method, body: 'body', headers: { 'content-type': 'a/b', 'content-language': 'de', 'x-a': '1' } }
    const sent = await (await fetch(`${url}/${status}?to=/x`, init)).json()
    const kept = method === then
    assert.deepEqual([sent.method, sent.body], [then, kept ? 'body' : ''], `${method} ${status}`)
    const { 'content-type': type, 'content-language': language, 'x-a': own } = sent.headers
    assert.deepEqual([type, language, own], kept ? ['a/b', 'de', '1'] : [undefined, undefined, '1'])
  }
  const head = await fetch(`${url}/303?to=/x`, { method: 'HEAD' })
  assert.deepEqual([head.status, head.redirected], [200, true])
})

both('credentials stay with their origin', async (t, fetch) => {
  const [url, other] = [await site(t), await site(t)]
  const headers = { authorization: 'Bearer secret', cookie: 'a=b', 'proxy-authorization': 'x', 'x-api-key': 'k' }
  const names = Object.keys(headers)
  const seen = async (target) => {
    const sent = await (await fetch(target, { headers })).json()
    return names.filter((name) => sent.headers[name] !== undefined)
  }
  assert.deepEqual(await seen(`${url}/302?to=/x`), names)
  assert.deepEqual(await seen(`${url}/302?to=${other}/x`), ['x-api-key'])
  // Once gone, they do not come back.
  assert.deepEqual(await seen(`${url}/302?to=${encodeURIComponent(`${other}/302?to=${url}/x`)}`), ['x-api-key'])
})

both('a redirect is an error, or is handed over, where that is wanted', async (t, fetch) => {
  const url = await site(t)
  const error = await rejected(fetch(`${url}/302?to=/x`, { redirect: 'error' }))
  assert.deepEqual(
    [error.name, error.message, error.cause.message],
    ['TypeError', 'fetch failed', 'unexpected redirect'],
  )
  const manual = await fetch(`${url}/302?to=/x`, { redirect: 'manual' })
  assert.deepEqual(
    [manual.status, manual.redirected, manual.url, manual.headers.get('location'), await manual.text()],
    [302, false, `${url}/302?to=/x`, '/x', 'moved'],
  )
})

both('a redirect that leads nowhere is handed over, and a bad one fails', async (t, fetch) => {
  const url = await site(t)
  const nowhere = await fetch(`${url}/302`)
  assert.deepEqual([nowhere.status, nowhere.redirected, await nowhere.text()], [302, false, 'moved'])
  assert.equal((await fetch(`${url}/300?to=/x`)).status, 300)
  for (const to of ['http://', 'ftp://127.0.0.1/', 'data:,x', `${url.replace('://', '://user:secret@')}/x`]) {
    const error = await rejected(fetch(`${url}/302?to=${encodeURIComponent(to)}`))
    assert.deepEqual([error.name, error.message], ['TypeError', 'fetch failed'], to)
  }
})

both('twenty redirects are followed, and not one more', async (t, fetch) => {
  const url = await site(t)
  assert.equal((await fetch(`${url}/left/20`)).url, `${url}/left/0`)
  assert.equal((await rejected(fetch(`${url}/left/21`))).cause.message, 'redirect count exceeded')
})

both('a body that came as a stream is not sent twice', async (t, fetch) => {
  const url = await site(t)
  const init = () => ({ method: 'POST', body: streamOf('x'), duplex: 'half' })
  assert.equal((await rejected(fetch(`${url}/307?to=/x`, init()))).message, 'fetch failed')
  assert.equal((await (await fetch(`${url}/303?to=/x`, init())).json()).method, 'GET')
})

both('a fragment goes along', async (t, fetch) => {
  const url = await site(t)
  assert.equal((await fetch(`${url}/302?to=/x#frag`)).url, `${url}/x`)
})

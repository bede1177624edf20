// What tests have in common.

import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

export const root = fileURLToPath(new URL('..', import.meta.url))

export const REQUEST = { model: 'gpt-test', messages: [{ role: 'user', content: 'Hello' }] }

let pools = 0

/** Options that no other client has, so that its pool is its own. */
export function own(options = {}) {
  return { ...options, pool: { maxAge: 200_000 + ++pools, ...options.pool } }
}

/** An upstream, and a client of it with a pool of its own; both end with the test. */
export async function start(t, { upstream: how, ...options } = {}) {
  const upstream = await MockUpstream.start(how)
  t.after(() => upstream.close())
  const line = client(t, upstream, options)
  return { upstream, line }
}

/** The same, with a call that runs until `free` is called. */
export async function occupied(t, options) {
  const { upstream, line } = await start(t, options)
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 1 })
  const holder = new AbortController()
  const held = rejection(line.chat(REQUEST, { signal: holder.signal }))
  await until(() => upstream.requests.length === 1)
  return {
    upstream,
    line,
    free: async () => {
      holder.abort()
      await held
    },
  }
}

/** A further client of an upstream, or of a server's URL. */
export function client(t, upstream, options = {}) {
  const { url, ca } = typeof upstream === 'string' ? { url: upstream } : upstream
  const made = own({ baseURL: `${url}/v1`, apiKey: 'sk-test-key', ...options })
  if (ca) made.pool = { ...made.pool, tls: { ca, ...made.pool.tls } }
  const line = new Trunkline(made)
  t.after(() => line.close({ drainTimeout: 0 }))
  return line
}

/** Polls until the condition holds. The limit is only there to say what was waited for. */
export async function until(condition, what = condition.toString(), limit = 20_000) {
  const end = performance.now() + limit
  for (;;) {
    const value = await condition()
    if (value) return value
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`)
    await sleep(2)
  }
}

/** Waits until what a WeakRef is of was collected. Needs --expose-gc. */
export async function collected(reference) {
  await until(async () => {
    globalThis.gc()
    await new Promise(setImmediate)
    return reference.deref() === undefined
  }, 'it is collected')
}

/** What a promise rejects with. */
export async function rejection(promise) {
  let value
  try {
    value = await promise
  } catch (error) {
    return error
  }
  throw new Error(`expected a rejection, got ${JSON.stringify(value)?.slice(0, 200)}`)
}

export async function collect(iterable) {
  const items = []
  for await (const item of iterable) items.push(item)
  return items
}

/**
 * A server of bytes: `each(socket, n, request)` is called with the text of each HTTP/1.1 request, `n` counting from 1.
 */
export async function rawServer(t, each) {
  const sockets = new Set()
  let count = 0
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (data) => {
      text += data.toString('latin1')
      for (;;) {
        const head = text.indexOf('\r\n\r\n')
        if (head < 0) return
        const end = head + 4 + Number(/content-length: (\d+)/i.exec(text.slice(0, head))?.[1] ?? 0)
        if (text.length < end) return
        const request = text.slice(0, end)
        text = text.slice(end)
        each(socket, ++count, request)
      }
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${server.address().port}`, sockets }
}

/** An HTTP/1.1 answer as text. */
export function http(
  body,
  { status = '200 OK', type = 'application/json', length = Buffer.byteLength(body), more = '' } = {},
) {
  return `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${length}\r\n${more}\r\n${body}`
}

export const COMPLETION = JSON.stringify({
  id: 'c',
  object: 'chat.completion',
  created: 1,
  model: 'gpt-test',
  choices: [
    { index: 0, message: { role: 'assistant', content: 'good', refusal: null }, logprobs: null, finish_reason: 'stop' },
  ],
  usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
})

/** Runs an ES module in a process of its own. The upstream's `url` is in `UPSTREAM`; `env` is what else it has. */
export async function run(source, { url = '', env = {}, flags = [], limit = 30_000 } = {}) {
  const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', source], {
    cwd: root,
    env: { ...process.env, ...env, UPSTREAM: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (data) => (stdout += data))
  child.stderr.on('data', (data) => (stderr += data))
  const timer = setTimeout(() => child.kill('SIGKILL'), limit)
  const [code, signal] = await new Promise((resolve) => child.on('close', (...end) => resolve(end)))
  clearTimeout(timer)
  return { code, signal, stdout: stdout.trim(), stderr: stderr.trim() }
}

/** The beginning of a script for `run`: a client of the upstream. */
export const SCRIPT = `
import { Trunkline } from 'trunkline'
const REQUEST = ${JSON.stringify(REQUEST)}
const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', apiKey: 'k', retry: false })
`

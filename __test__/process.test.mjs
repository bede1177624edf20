// What the package does to the process that it is in. Each test runs one of its own.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { root, run, SCRIPT } from './support.mjs'

async function upstream(t, options) {
  const made = await MockUpstream.start(options)
  t.after(() => made.close())
  return made
}

/** The script ends by itself, well, and says this. */
function ended({ code, signal, stdout, stderr }, said) {
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  assert.equal(stdout, said)
}

test('a script that made calls exits by itself, without close()', async (t) => {
  for (const options of [{}, { tls: true }]) {
    const { url, ca } = await upstream(t, options)
    const source = `
      import { Trunkline } from 'trunkline'
      const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', pool: { tls: { ca: ${JSON.stringify(ca ?? [])} } } })
      const request = { model: 'm', messages: [] }
      await Promise.all([line.chat(request), line.stream(request).final()])
      for await (const _ of line.stream(request));
      // The last one goes back a moment after its stream has ended.
      while (line.metrics().pool.connections.idle === 0) await new Promise((next) => setTimeout(next, 5))
      console.log('done')`
    ended(await run(source, { url }), 'done')
  }
})

test('a client alone, and a warm pool, keep no process alive', async (t) => {
  const { url } = await upstream(t)
  ended(
    await run(`${SCRIPT}; await line.warmup({ connections: 3 }); console.log(line.metrics().pool.connections.idle)`, {
      url,
    }),
    '3',
  )
})

test('an upstream of the tests keeps no process alive', async () => {
  ended(
    await run(`import { MockUpstream } from 'trunkline/testing'; await MockUpstream.start(); console.log('done')`),
    'done',
  )
})

test('a call that runs keeps the process alive until it ends', async (t) => {
  const { url } = await upstream(t, { latency: 300 })
  ended(await run(`${SCRIPT}; line.chat(REQUEST).then(() => console.log('answered'))`, { url }), 'answered')
  ended(await run(`${SCRIPT}; line.stream(REQUEST).final().then(() => console.log('answered'))`, { url }), 'answered')
})

test('an aborted call keeps no process alive', async (t) => {
  const { url } = await upstream(t, { latency: 60_000 })
  const source = `${SCRIPT}
    const controller = new AbortController()
    line.chat(REQUEST, { signal: controller.signal }).catch((error) => console.log(error.name))
    const stream = line.stream(REQUEST)
    stream.final().catch(() => {})
    setTimeout(() => { controller.abort(); stream.abort() }, 50)`
  ended(await run(source, { url }), 'AbortError')
})

test('who looks for open handles is told whether the process waits for a call', async (t) => {
  const { url } = await upstream(t, { latency: 300 })
  const source = `
    import { createHook } from 'node:async_hooks'
    const resources = []
    createHook({ init: (id, type, trigger, resource) => void (type === 'trunkline' && resources.push(resource)) }).enable()
    const { Trunkline } = await import('trunkline')
    const held = () => resources.map((resource) => resource.hasRef()).join()
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1' })
    const before = held()
    const call = line.chat({ model: 'm', messages: [] })
    const during = held()
    await call
    console.log(before, during, held())`
  ended(await run(source, { url }), 'false true false')
})

test('process.exit in mid-stream is clean', async (t) => {
  const { url } = await upstream(t, { tokensPerSecond: 100 })
  const source = `${SCRIPT}
    const many = Array.from({ length: 20 }, () => line.stream(REQUEST))
    await Promise.all(many.map(async (stream) => { for await (const _ of stream) { console.log('in the middle'); process.exit(7) } }))`
  const { code, signal, stdout, stderr } = await run(source, { url })
  assert.deepEqual({ code, signal, stdout, stderr }, { code: 7, signal: null, stdout: 'in the middle', stderr: '' })
})

test('an exception that nobody catches in mid-stream ends the process as it should', async (t) => {
  const { url } = await upstream(t, { tokensPerSecond: 100 })
  const { code, signal, stderr } = await run(
    `${SCRIPT}; for await (const _ of line.stream(REQUEST)) throw new Error('mine')`,
    { url },
  )
  assert.deepEqual([code, signal], [1, null])
  assert.match(stderr, /Error: mine/)
})

test('a failed call that somebody handles is no unhandled rejection, with or without its meta', async (t) => {
  const made = await upstream(t)
  made.fault({ kind: 'status', status: 400 }, { times: 9 })
  const source = `${SCRIPT}
    process.on('unhandledRejection', (error) => console.log('unhandled', error))
    await line.chat(REQUEST).catch(() => {})
    await line.chat(REQUEST).withMeta().catch(() => {})
    const call = line.chat(REQUEST)
    await call.withMeta().catch(() => {})
    await line.chat({}).withMeta().catch(() => {})
    await line.chat(REQUEST, { signal: AbortSignal.abort() }).withMeta().catch(() => {})
    const both = line.chat(REQUEST)
    await Promise.allSettled([both, both.withMeta()])
    console.log('done')`
  ended(await run(source, { url: made.url }), 'done')
})

test('a failed call that nobody handles is one unhandled rejection', async (t) => {
  const made = await upstream(t)
  made.fault({ kind: 'status', status: 400 }, { times: 9 })
  const source = `${SCRIPT}
    process.on('unhandledRejection', (error) => console.log(error.code))
    line.chat(REQUEST)
    line.chat(REQUEST).withMeta()`
  ended(await run(source, { url: made.url }), 'ERR_BAD_REQUEST\nERR_BAD_REQUEST')
})

test('a stream that fails and that nobody consumes is no unhandled rejection', async (t) => {
  const made = await upstream(t)
  made.fault({ kind: 'status', status: 400 }, { times: 9, model: 'gpt-test' })
  const source = `${SCRIPT}
    process.on('unhandledRejection', (error) => console.log('unhandled', error))
    const streams = [
      line.stream(REQUEST), line.stream({}), line.stream(REQUEST, { nonsense: 1 }), line.events('/x', {}), line.events('x', {}),
      line.stream(REQUEST, { signal: AbortSignal.abort() }),
    ]
    line.stream(REQUEST).abort(new Error('mine'))
    while (line.metrics().requests.inFlight > 0 || line.metrics().requests.failed < 2) await new Promise((next) => setTimeout(next, 5))
    const left = line.stream({ ...REQUEST, model: 'good' })
    for await (const _ of left) break
    line.batch([REQUEST, REQUEST], { signal: AbortSignal.abort() })
    await new Promise((next) => setTimeout(next, 50))
    console.log('done', streams.length)`
  ended(await run(source, { url: made.url }), 'done 6')
})

test('a listener of a batch that throws is an uncaught exception, and the batch goes on', async (t) => {
  const { url } = await upstream(t)
  const source = `${SCRIPT}
    let count = 0
    process.on('uncaughtException', () => count++)
    const results = await line.batch([REQUEST, REQUEST], { onProgress() { throw new Error('mine') } })
    console.log(results.map(({ status }) => status).join(), count)`
  ended(await run(source, { url }), 'fulfilled,fulfilled 2')
})

test('code of the caller’s that throws as answers come disturbs no other call', async (t) => {
  const { url } = await upstream(t)
  const source = `${SCRIPT}
    let thrown = 0
    process.on('uncaughtException', () => thrown++)
    process.on('unhandledRejection', () => thrown++)
    const calls = Array.from({ length: 300 }, (_, n) => line.chat(REQUEST))
    for (const call of calls.slice(0, 50)) call.then(() => { throw new Error('mine') })
    await Promise.all(calls)
    await new Promise((next) => setTimeout(next, 20))
    console.log(thrown, line.metrics().requests.succeeded)`
  ended(await run(source, { url }), '50 300')
})

test('import and require give the same names', async () => {
  const declared = (file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/^export declare (?:class|function|const) (\w+)/gm)]
      .map(([, name]) => name)
      .sort()
  const source = `
    import { createRequire } from 'node:module'
    const require = createRequire(process.cwd() + '/x.js')
    const names = (all) => Object.keys(all).filter((name) => !['default', 'module.exports'].includes(name)).sort()
    for (const id of ['trunkline', 'trunkline/testing']) {
      const [imported, required] = [await import(id), require(id)]
      for (const name of names(required)) if (imported[name] !== required[name]) throw new Error(name)
      console.log(JSON.stringify([names(imported), names(required)]))
    }`
  const main = declared('index.d.ts')
  const testing = declared('testing.d.ts')
  assert.ok(main.length > 15)
  ended(await run(source), `${JSON.stringify([main, main])}\n${JSON.stringify([testing, testing])}`)
})

test('the environment is read when a client is made', async (t) => {
  const made = await upstream(t)
  const source = `
    import { Trunkline } from 'trunkline'
    const request = { model: 'm', messages: [] }
    Object.assign(process.env, { OPENAI_BASE_URL: process.env.UPSTREAM + '/v1', OPENAI_API_KEY: 'openai' })
    const first = new Trunkline()
    Object.assign(process.env, { TRUNKLINE_API_KEY: 'ours', TRUNKLINE_BASE_URL: process.env.UPSTREAM + '/v2' })
    await first.chat(request)
    await new Trunkline().get('/x').catch(() => {})
    await new Trunkline({ apiKey: 'given' }).get('/x').catch(() => {})`
  ended(await run(source, { url: made.url }), '')
  assert.deepEqual(
    made.requests.map(({ path, headers }) => [path, headers.authorization]),
    [
      ['/v1/chat/completions', 'Bearer openai'],
      ['/v2/x', 'Bearer ours'],
      ['/v2/x', 'Bearer given'],
    ],
  )
})

test('certificates of NODE_EXTRA_CA_CERTS are trusted', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const made = await upstream(t, { tls: true })
  writeFileSync(join(folder, 'ca.pem'), made.ca)
  const source = `process.env.NODE_EXTRA_CA_CERTS = ${JSON.stringify(join(folder, 'ca.pem'))}
    ${SCRIPT.replace(/^import.*$/m, "const { Trunkline } = await import('trunkline')")}
    console.log((await line.chat(REQUEST)).object)`
  ended(await run(source, { url: made.url }), 'chat.completion')
})

test('turning verification off is loud, and works', async (t) => {
  const { url } = await upstream(t, { tls: true })
  const source = `import { Trunkline } from 'trunkline'
    const line = new Trunkline({ baseURL: process.env.UPSTREAM + '/v1', pool: { tls: { rejectUnauthorized: false } } })
    console.log((await line.chat({ model: 'm', messages: [] })).object)`
  const { code, stdout, stderr } = await run(source, { url })
  assert.deepEqual([code, stdout], [0, 'chat.completion'])
  assert.match(stderr, /TRUNKLINE_INSECURE_TLS/)
})

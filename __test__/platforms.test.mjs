// The function of docs/platforms.md, frozen and thawed. `install.test.mjs` builds its images.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import test, { describe } from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { root, until } from './support.mjs'

describe('AWS Lambda', { skip: process.platform === 'win32' && 'Windows stops no process' }, () => {
  /** A function, its calls one at a time, and its upstream, if that is not somebody else's URL. */
  async function started(t, how) {
    const upstream = typeof how === 'string' ? { url: how } : await MockUpstream.start(how)
    t.after(() => upstream.close?.())
    const child = fork(join(root, '__test__/platforms/function.mjs'), {
      env: { ...process.env, TRUNKLINE_BASE_URL: `${upstream.url}/v1`, TRUNKLINE_API_KEY: 'k' },
    })
    t.after(() => child.kill('SIGKILL'))
    const heard = () => new Promise((resolve) => child.once('message', resolve))
    assert.equal(await heard(), 'read')
    const invoke = (left = 30_000) => {
      const answer = heard()
      child.send({ question: 'one two three', left })
      return answer
    }
    return { upstream, child, invoke }
  }

  test('a function that is frozen for longer than the server keeps a connection answers when it is thawed, and asks once', async (t) => {
    const { upstream, child, invoke } = await started(t, { keepAliveTimeout: 100 })
    upstream.reply({ model: 'gpt-4o-mini' }, 'three two one')
    for (let time = 1; time <= 3; time++) {
      assert.deepEqual(await invoke(), { answer: 'three two one' })
      assert.equal(upstream.requests.length, time)
      // As Lambda does it: nothing of the process runs any more, its timers neither.
      child.kill('SIGSTOP')
      await until(() => upstream.connections.open === 0, 'the server has closed what was idle')
      child.kill('SIGCONT')
    }
    assert.equal(upstream.connections.opened, 3)
  })

  test('a call that is under way when the function is frozen ends when it is thawed, with what came meanwhile', async (t) => {
    let asked
    const request = new Promise((resolve) => {
      asked = (_request, response) => resolve(response)
    })
    const server = createServer((request, response) => asked(request, response))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.after(() => server.close())
    const { child, invoke } = await started(t, `http://127.0.0.1:${server.address().port}`)
    const answer = invoke()
    const response = await request
    child.kill('SIGSTOP')
    // Into the socket of a process that stands still.
    const message = { role: 'assistant', content: 'three two one' }
    const body = {
      id: '1',
      object: 'chat.completion',
      created: 1,
      model: 'm',
      choices: [{ index: 0, message, finish_reason: 'stop' }],
    }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
    await once(response, 'finish')
    child.kill('SIGCONT')
    assert.deepEqual(await answer, { answer: 'three two one' })
  })

  test('a call ends before the function’s time does', async (t) => {
    const { upstream, invoke } = await started(t)
    upstream.fault({ kind: 'silence', for: 60_000 })
    assert.equal((await invoke(600)).code, 'ERR_TIMEOUT')
  })
})

test('the page shows what is tested', () => {
  const page = readFileSync(join(root, 'docs/platforms.md'), 'utf8')
  const block = (language) => page.split(`\`\`\`${language}\n`)[1].split('```')[0]
  const code = (path) =>
    readFileSync(join(root, path), 'utf8')
      .replace(/^ *(\/\/|#).*\n/gm, '')
      .trim()
  assert.equal(block('js').trim(), code('examples/lambda/handler.mjs'))
  const instructions = code('examples/docker/slim.Dockerfile').split('\n')
  const shown = block('dockerfile').trim().split('\n')
  // Less what an image works without.
  assert.deepEqual(
    shown,
    instructions.filter((line) => !/^(ENV|EXPOSE)/.test(line)),
  )
})

import assert from 'node:assert/strict'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { assertOnce, folder, ids, read, request, write } from '../job/support.mjs'
import { until } from '../support.mjs'
import { begin, json, trunkline } from './run.mjs'

async function prepared(t, { lines = 20, upstream: options = {} } = {}) {
  const upstream = await MockUpstream.start(options)
  t.after(() => upstream.close())
  const files = folder(t)
  write(
    files.input,
    ids(lines).map((id) => request(id)),
  )
  const args = ['batch', files.input, '-o', files.output, '--base-url', `${upstream.url}/v1`, '--key-env', 'MY_KEY']
  return { upstream, files, args, env: { MY_KEY: 'sk-mine' } }
}

test('batch answers a file, and says what it came to', async (t) => {
  const { upstream, files, args, env } = await prepared(t)
  const { code, out, err } = await trunkline(args, { env })
  assert.equal(code, 0, err)
  assert.match(out, /^✓ 20 lines: 20 answered, 0 failed\n {2}20 in .*tokens, no price is known of .*gpt-test\n/)
  assert.ok(out.includes(files.output))
  assertOnce(files, ids(20))
  assert.equal(upstream.requests[0].headers.authorization, 'Bearer sk-mine')
  // Again, it has nothing to do.
  const again = await trunkline(args, { env })
  assert.deepEqual([again.code, upstream.requests.length], [0, 20])
  assert.match(again.out, /0 in .*, and 20 by earlier runs/)
})

test('batch ends with 1 where a line failed, and tells which could not be sent', async (t) => {
  const { files, args, env } = await prepared(t)
  write(files.input, [request('a'), 'nonsense'])
  const { code, out } = await trunkline(args, { env })
  assert.equal(code, 1)
  assert.match(out, /line 2: is no JSON object/)
  assert.ok(out.includes(files.errors))
  const refused = await trunkline([...args, '--errors', join(files.path, 'x'), '--bad-lines', 'refuse'], { env })
  assert.equal(refused.code, 1)
  assert.match(refused.err, /nothing was sent: line 2: /)
})

test('batch says what it cost, and of what no price is known', async (t) => {
  const { upstream, files } = await prepared(t)
  write(files.input, [request('a', { model: 'one' }), request('b', { model: 'other' })])
  const config = join(files.path, 'config.json')
  const price = { input: 1e6, output: 1e6 }
  const told = async (pricing, output) => {
    writeFileSync(config, JSON.stringify({ baseURL: `${upstream.url}/v1`, apiKey: 'k', pricing }))
    const { out, err } = await trunkline(['batch', files.input, '-o', `${files.output}${output}`, '--config', config])
    assert.match(out, /^✓ 2 lines/, err)
    return out.split('\n')[1]
  }
  assert.match(await told({ one: price, other: price }, 1), /tokens, \$[\d,.]+$/)
  assert.match(await told({ one: price }, 2), /tokens, \$[\d,.]+, and no price is known of \S*other$/)
  assert.match(await told({}, 3), /tokens, no price is known of \S*one, \S*other$/)
})

test('batch says of what failed why the first did, and is not content with it', async (t) => {
  const { upstream, files, args, env } = await prepared(t)
  const refused = { status: 400, json: { error: { message: 'too long a prompt', code: 'context_length_exceeded' } } }
  upstream.reply({ model: 'other' }, refused)
  // One whose number tells what is wrong with it is not told of twice.
  write(files.input, ['nonsense', request('b', { model: 'other' }), request('a')])
  const some = await trunkline(args, { env })
  assert.equal(some.code, 1)
  assert.match(some.out, /^! 3 lines: 1 answered, 2 failed\n/)
  assert.match(some.out, /errors\.jsonl, where the first is b: 400, too long a prompt\n/)

  // A mistake in the options, by which each line fails.
  const config = join(files.path, 'config.json')
  const options = { baseURL: `${upstream.url}/v1`, apiKey: 'k', budget: { limit: 1, window: 'day' } }
  writeFileSync(config, JSON.stringify(options))
  write(files.input, [request('a')])
  const all = await trunkline(['batch', files.input, '-o', `${files.output}.2`, '--config', config])
  assert.equal(all.code, 1)
  assert.match(all.out, /^✗ 1 line: 0 answered, 1 failed\n/)
  assert.match(all.out, /where the first is a: ERR_CONFIG, pricing: has no price of .*budget\.unpriced/)
})

test('batch has one document for programs, and no progress in it', async (t) => {
  const { args, env } = await prepared(t)
  const { code, data } = await json(args, { env })
  assert.deepEqual([code, data.status, data.progress.succeeded, data.error], [0, 'done', 20, null])
})

test('batch tells its progress by lines where there is no terminal', async (t) => {
  const { args, env } = await prepared(t)
  assert.match((await trunkline(args, { env })).err, /^20 of 20, .*tokens\n$/)
  assert.equal((await trunkline([...args, '--quiet'], { env })).err, '')
})

test('batch takes a client’s options from JSON, and from a module', async (t) => {
  const { upstream, files } = await prepared(t)
  const options = {
    providers: { mine: { baseURL: `${upstream.url}/v1`, apiKey: 'k' } },
    routes: { 'gpt-test': { targets: [{ provider: 'mine', model: 'other' }] } },
  }
  const [config, module] = ['config.json', 'config.mjs'].map((name) => join(files.path, name))
  writeFileSync(config, JSON.stringify(options))
  writeFileSync(module, `export default { ...${JSON.stringify(options)} }`)
  for (const file of [config, module]) {
    const output = `${file}.out`
    const { code, err } = await trunkline(['batch', files.input, '-o', output, '--config', file])
    assert.equal(code, 0, err)
    assert.equal(read(output).length, 20)
  }
  assert.ok(upstream.requests.every(({ body }) => body.model === 'other'))
})

test('batch says what was asked for wrongly', async (t) => {
  const { files } = await prepared(t)
  for (const [args, message] of [
    [['batch'], /something is missing: trunkline batch FILE -o FILE/],
    [['batch', files.input], /--output FILE is needed/],
    [['batch', files.input, '-o', files.input], /output: must be another file than the input/],
    [['batch', files.input, '-o', files.output, '--tries', '0'], /--tries: must be a whole number/],
    [['batch', files.input, '-o', files.output, '--bad-lines', 'eat'], /--bad-lines: must be one of report, refuse/],
    [['batch', files.input, '-o', files.output, '--config', files.input], /--config: .* is no JSON/],
    [['batch', files.input, '-o', files.output, '--key-env', 'NONE_SUCH'], /the variable NONE_SUCH is not set/],
  ]) {
    const { code, err } = await trunkline(args)
    assert.equal(code, 2, err)
    assert.match(err, message)
  }
  const { code, err } = await trunkline(['batch', join(files.path, 'none'), '-o', files.output])
  assert.deepEqual([code, /the input .*none cannot be read/.test(err)], [1, true], err)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} lets calls end that are under way, and the same command goes on`, async (t) => {
    const { upstream, files, args, env } = await prepared(t, { lines: 200, upstream: { latency: 30 } })
    const run = begin([...args, '--concurrency', '4'], { env })
    await until(() => upstream.requests.length >= 8)
    run.child.kill(signal)
    const { code, out, err } = await run.ended
    assert.equal(code, 1)
    assert.match(out, /^! Stopped: \d+ lines left of 200\n/)
    assert.match(err, /Stopping: \d calls? under way may end/)
    assert.equal(read(files.output).length, upstream.requests.length)
    const { data } = await json(args, { env })
    assert.deepEqual([data.progress.succeeded, data.progress.repeated, upstream.requests.length], [200, 0, 200])
  })
}

test('a second signal ends it at once, and what was dropped is told', async (t) => {
  const { upstream, files, args, env } = await prepared(t)
  upstream.fault({ kind: 'silence', for: 60_000 }, { times: 4 })
  const run = begin([...args, '--concurrency', '4'], { env })
  await until(() => upstream.requests.length === 4)
  run.child.kill('SIGINT')
  // The other one is told, and then the calls go.
  await new Promise((resolve) => run.child.stderr.on('data', (text) => /Stopping/.test(text) && resolve()))
  run.child.kill('SIGINT')
  assert.match((await run.ended).out, /^! Stopped: 20 lines left/)
  const { out } = await trunkline(args, { env })
  assert.match(out, /4 calls were under way when an earlier run was cut off, and may have been paid twice/)
  assertOnce(files, ids(20))
})

test('a full disk ends it with whole lines, and with room it goes on', {
  skip: process.platform === 'win32',
}, async (t) => {
  const { files, args, env } = await prepared(t, { lines: 400 })
  // What no file may be longer than, in blocks of 512 or 1024 bytes: the system says so as it says that a disk is full.
  const limited = {
    command: 'sh',
    before: ['-c', 'ulimit -f 64; exec "$0" "$@"', process.execPath, 'bin/trunkline.js'],
  }
  const full = await begin([...args, '--json'], { env, ...limited }).ended
  assert.equal(full.code, 1, full.err)
  assert.equal(JSON.parse(full.out).error.code, 'JOB_full')
  assert.match(JSON.parse(full.out).error.message, /out\.jsonl cannot be written: /)
  const whole = read(files.output).length
  assert.ok(whole > 0 && whole < 400)
  assert.ok(statSync(files.output).size <= 64 * 1024)
  const { data } = await json(args, { env })
  assert.deepEqual([data.status, data.progress.resumed, data.progress.succeeded], ['done', whole, 400])
  // Those whose answers found no room.
  assert.ok(data.progress.repeated > 0)
  assertOnce(files, ids(400))
  assert.ok(!existsSync(files.journal))
})

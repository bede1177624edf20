// A job that several processes work on, through a real Redis.

import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { assertOnce, folder, ids, request, write } from '../job/support.mjs'
import { redis, withoutRedis } from '../redis.mjs'
import { client, rejection, until } from '../support.mjs'
import { batch, fieldOf, networks, withoutNetworks, withStandIn } from './support.mjs'

const skip = withoutRedis

const linesOf = (file) => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').length - 1 : 0)

async function prepared(t, { lines, latency, ...how }) {
  const server = await redis(t, how)
  const files = folder(t)
  write(
    files.input,
    ids(lines).map((id) => request(id)),
  )
  const upstream = await MockUpstream.start({ latency })
  t.after(() => upstream.close())
  const to = ['--queue', server.url, '--job', 'test', '--base-url', `${upstream.url}/v1`, '--concurrency', '4']
  const feed = ['--claim', '1', '-o', files.output, files.input, ...to]
  return { server, files, upstream, feed, work: ['--work', ...to] }
}

test('four processes, one killed and one stopped for a while: every line is answered once', { skip }, async (t) => {
  const { server, files, upstream, feed, work } = await prepared(t, { lines: 400, latency: 150 })
  const workers = [batch(t, work), batch(t, work), batch(t, work)]
  const feeder = batch(t, feed)
  await until(() => upstream.requests.length > 40, 'all of them work')
  workers[0].child.kill('SIGKILL')
  workers[1].child.kill('SIGSTOP')
  await until(() => Number(fieldOf(server, 'test', 'claimed')) >= 2, 'others have claimed what these had')
  const claimed = () => Number(fieldOf(server, 'test', 'claimed'))
  // Those of both.
  await until(() => claimed() >= 5, 'others have claimed what both had')
  workers[1].child.kill('SIGCONT')
  const { code, err, status, progress } = await feeder.result
  assert.deepEqual([code, status, progress.succeeded], [0, 'done', 400], err)
  assertOnce(files, ids(400))
  // The stopped one had calls whose answers came, and others had made them again.
  assert.ok(progress.twice >= 1, 'what was answered twice is told')
  const calls = upstream.requests.length
  assert.ok(calls >= 400 + progress.twice && calls <= 400 + progress.repeated, `${calls}, ${JSON.stringify(progress)}`)
  const ended = await Promise.all(workers.slice(1).map(({ result }) => result))
  assert.deepEqual(
    ended.map(({ code, status }) => [code, status]),
    [
      [0, 'done'],
      [0, 'done'],
    ],
  )
})

const noNetworks = skip || withoutNetworks()
if (noNetworks) console.log(noNetworks)

test('four machines, one killed and one cut off for a while: every line is answered once', {
  skip: noNetworks,
}, async (t) => {
  const { host, within, others } = networks(t, 4)
  const server = await redis(t, { host, within })
  const files = folder(t)
  write(
    files.input,
    ids(300).map((id) => request(id)),
  )
  const to = ['--queue', server.url, '--job', 'test', '--concurrency', '4']
  to.push('--config', withStandIn(files.path, { latency: 150 }))
  const workers = others.slice(1).map(({ within }) => batch(t, ['--work', ...to], within))
  const feeder = batch(t, ['--claim', '1', '-o', files.output, files.input, ...to], others[0].within)
  await until(() => linesOf(files.output) > 60, 'all of them work')
  workers[0].child.kill('SIGKILL')
  others[2].cable('down')
  await until(() => Number(fieldOf(server, 'test', 'claimed')) >= 5, 'others have claimed what both had')
  others[2].cable('up')
  const { code, err, status, progress } = await feeder.result
  assert.deepEqual([code, status, progress.succeeded], [0, 'done', 300], err)
  assertOnce(files, ids(300))
  // It has come back, and knows that all is done.
  for (const { result } of workers.slice(1)) assert.equal((await result).status, 'done')
})

test('whoever feeds is killed at any time, and goes on where it was', { skip }, async (t) => {
  const { server, files, upstream, feed, work } = await prepared(t, { lines: 200, latency: 50 })
  const worker = batch(t, work)
  const first = batch(t, [...feed, '--no-work'])
  await until(() => upstream.requests.length > 30, 'it works')
  first.child.kill('SIGKILL')
  await first.ended
  // What it had fed is answered all the same, and waits.
  await until(() => fieldOf(server, 'test', 'id') !== '' && upstream.requests.length === 200, 'all is answered')
  const { code, err, progress } = await batch(t, [...feed, '--no-work']).result
  assert.deepEqual([code, progress.succeeded, progress.twice], [0, 200, 0], err)
  assertOnce(files, ids(200))
  assert.equal(upstream.requests.length, 200)
  assert.equal((await worker.result).status, 'done')
})

test('a Redis that is emptied under a job is fed anew, and no line is lost', { skip }, async (t) => {
  const { server, files, upstream, feed, work } = await prepared(t, { lines: 200, latency: 50 })
  const worker = batch(t, work)
  const feeder = batch(t, feed)
  await until(() => upstream.requests.length > 40, 'it works')
  await server.end()
  await server.begin()
  const { code, err, progress } = await feeder.result
  assert.deepEqual([code, progress.succeeded], [0, 200], err)
  assertOnce(files, ids(200))
  assert.equal((await worker.result).status, 'done')
})

test('a worker that ends gives back what it has not done at once', { skip, timeout: 40_000 }, async (t) => {
  const { server, files, upstream, feed, work } = await prepared(t, { lines: 20, latency: 0 })
  upstream.fault({ kind: 'silence' }, { times: 4 })
  const worker = batch(t, work)
  const claim = feed.indexOf('--claim')
  const feeder = batch(t, [...feed.with(claim + 1, '600'), '--no-work'])
  await until(() => upstream.requests.length === 4, 'it has as many as it takes')
  worker.child.kill('SIGTERM')
  worker.child.kill('SIGINT')
  const { code, status } = await worker.result
  assert.deepEqual([code, status], [1, 'stopped'])
  const other = batch(t, work)
  const { progress } = await feeder.result
  assert.deepEqual([progress.succeeded, progress.repeated, progress.twice], [20, 4, 0])
  assertOnce(files, ids(20))
  assert.equal((await other.result).progress.succeeded, 20)
  assert.equal(fieldOf(server, 'test', 'state'), 'done')
})

test('limits are shared through the same Redis', { skip }, async (t) => {
  const { server, files, upstream } = await prepared(t, { lines: 120, latency: 0 })
  const config = join(files.path, 'client.json')
  const options = { baseURL: `${upstream.url}/v1`, apiKey: 'k', rateLimit: { requestsPerSecond: 40 } }
  writeFileSync(config, JSON.stringify(options))
  const to = ['--queue', server.url, '--job', 'test', '--config', config]
  for (let n = 0; n < 2; n++) batch(t, ['--work', ...to])
  const { code, err, progress } = await batch(t, [files.input, '-o', files.output, ...to]).result
  assert.deepEqual([code, progress.succeeded], [0, 120], err)
  // 40 at once, and the others at 40 a second: each for itself, they would be done at once.
  assert.ok(progress.elapsed >= 1500, `${progress.elapsed} ms`)
})

test('a job that nobody works on says so, and ends when its patience does', { skip }, async (t) => {
  const { server, files, upstream } = await prepared(t, { lines: 3, latency: 0 })
  const line = client(t, upstream)
  const job = line.batchFile(files.input, files.output, {
    queue: { redis: server.url, job: 'test', work: false },
    patience: 500,
  })
  await until(() => /nobody works/.test(job.progress.waiting?.message), 'it is told')
  const { status, error, progress } = await job
  assert.deepEqual([status, error.reason, progress.inFlight], ['ended', 'noWorker', 3])
  // What it had fed is there yet.
  const part = line.batchWork({ queue: { redis: server.url, job: 'test' } })
  const again = await line.batchFile(files.input, files.output, {
    queue: { redis: server.url, job: 'test', work: false },
  })
  assert.deepEqual([again.status, again.progress.succeeded], ['done', 3])
  assert.equal((await part).status, 'done')
  assert.equal(upstream.requests.length, 3)
})

test('what a queue cannot be is told, and nothing starts', { skip }, async (t) => {
  const { server, files, upstream } = await prepared(t, { lines: 3, latency: 0 })
  const line = client(t, upstream)
  const refused = async (queue, input = files.input) => {
    const error = await rejection(line.batchFile(input, files.output, { queue: { job: 'test', ...queue } }))
    assert.equal(error.name, 'JobError', error.stack)
    assert.ok(!existsSync(files.output) && !existsSync(files.journal))
    return error
  }
  const without = await redis(t, { more: 'rename-command XAUTOCLAIM ""' })
  assert.match((await refused({ redis: without.url })).message, /streams of Redis 6\.2 or later.*XAUTOCLAIM/)
  const guarded = await redis(t, { more: 'user me on >secret ~* +@all -xautoclaim' })
  const url = guarded.url.replace('//', '//me:secret@')
  const denied = await refused({ redis: url })
  assert.match(denied.message, /a user who may use them.*XAUTOCLAIM/)
  assert.ok(!denied.message.includes('secret'))
  assert.match((await refused({ redis: url.replace('secret', 'wrong') })).message, /refuses the user or password/)
  assert.match((await refused({ redis: 'redis://127.0.0.1:1' })).message, /^the queue cannot be used: /)
  assert.throws(
    () => line.batchFile(files.input, files.output, { queue: { redis: 'http://secret', job: 'a' } }),
    (error) => error.code === 'ERR_CONFIG' && /^queue\.redis: /.test(error.message) && !/secret/.test(error.message),
  )
  assert.throws(
    () => line.batchFile(files.input, files.output, { queue: { redis: server.url } }),
    /queue\.job: must be/,
  )
  // A job that has not ended holds its name.
  const held = line.batchFile(files.input, `${files.output}.held`, {
    queue: { redis: server.url, job: 'test', work: false, claim: 1000 },
  })
  await until(() => fieldOf(server, 'test', 'state') === 'open', 'it is fed')
  assert.match((await refused({ redis: server.url, claim: 500 })).message, /another process feeds the job 'test'/)
  await held.stop()
  const other = `${files.input}.other`
  write(other, [request('another')])
  const error = await refused({ redis: server.url }, other)
  assert.deepEqual([error.reason, /of another input/.test(error.message)], ['otherInput', true])
  assert.equal(upstream.requests.length, 0)
})

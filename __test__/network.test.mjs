import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { argumentsOf, relayProgram, whyNoNamespace } from '../benchmark/network/emulation.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const why = whyNoNamespace()
const skip = why === null ? false : `SKIPPED: no network namespace: ${why}`
if (skip) console.log(skip)

function run(command, args) {
  const env = { ...process.env }
  delete env.NODE_TEST_CONTEXT
  return new Promise((resolve) =>
    execFile(command, args, { cwd: root, env, timeout: 300_000 }, (error, out, err) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, out, err }),
    ),
  )
}

/** A script of `network/` at the near end of a path. What it says, and what the relay has counted. */
async function through(path, script) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-network-test-'))
  try {
    const stats = join(folder, 'stats.json')
    const command = [process.execPath, `__test__/network/${script}`]
    const { code, out, err } = await run(relayProgram(), [...argumentsOf(path, stats), '--', ...command])
    assert.equal(code, 0, out + err)
    return { said: JSON.parse(out), counted: JSON.parse(readFileSync(stats, 'utf8')) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const bench = (...args) => run(process.execPath, ['benchmark/network/main.mjs', ...args])

test('through the emulated path a TCP handshake takes a round trip, one of TLS its two, and resets arrive', {
  skip,
}, async () => {
  const roundTrip = 60
  const { said } = await through({ roundTrip }, 'handshakes.mjs')
  assert.ok(said.tcp >= roundTrip, `${said.tcp} ms`)
  assert.ok(said.tls >= 2 * roundTrip, `${said.tls} ms`)
  assert.equal(said.refused, 'ECONNREFUSED')
})

test('of the packets as many are lost each way as was asked for, and no others', { skip }, async () => {
  for (const loss of [0, 10]) {
    const { said, counted } = await through({ roundTrip: 1, loss, seed: 7 }, 'datagrams.mjs')
    const { there, back, dropped } = counted
    assert.equal(dropped, 0)
    // Answers to further marks may be under way, or never be, when the last one is here.
    const open = said.sent - said.arrived - there.lost
    assert.ok(open >= 0 && open < 50, JSON.stringify({ said, counted }))
    for (const { carried, lost } of [there, back]) {
      const expected = ((carried + lost) * loss) / 100
      const deviation = Math.sqrt(expected * (1 - loss / 100))
      assert.ok(Math.abs(lost - expected) <= 5 * deviation, JSON.stringify(counted))
    }
  }
})

test('a command at the end of a path ends with its own exit code', { skip }, async () => {
  const relay = relayProgram()
  assert.equal((await run(relay, ['--', 'sh', '-c', 'exit 7'])).code, 7)
  const missing = await run(relay, ['--', '/no/such/program'])
  assert.equal(missing.code, 125)
  assert.match(missing.err, /^wan: \/no\/such\/program: /)
})

test('the bench of the wide area runs in a namespace, and every client is answered', { skip }, async () => {
  const { code, out, err } = await bench('--smoke')
  assert.equal(code, 0, out + err)
  assert.match(out, /smoke: \d+ rows ran in a namespace\n$/)
  const { rows, goals, carried } = results()
  assert.deepEqual([...new Set(rows.map(({ section }) => section))].sort(), [
    'burst',
    'lossy',
    'overload',
    'peers',
    'pools',
  ])
  assert.ok(goals.length > 5 && goals.every(({ met }) => typeof met === 'boolean'))
  for (const { path, there, back } of carried) {
    assert.ok(there.carried > 0 && back.carried > 0)
    assert.equal(there.lost + back.lost > 0, path.loss > 0)
  }
  assert.match(readFileSync(`${root}/benchmark/results/tmp/network.svg`, 'utf8'), /^<svg [\s\S]*<\/svg>\n$/)
})

test('without a namespace the bench says what it cannot emulate, and leaves loss out', async () => {
  const { code, out, err } = await bench('--smoke', '--no-namespace', '--only', 'burst,overload,lossy')
  assert.equal(code, 0, out + err)
  assert.match(err, /does not emulate [\s\S]* slow start, [\s\S]*loss and jitter/)
  assert.match(out, /smoke: 2 rows ran over the delaying stand-in\n$/)
  assert.doesNotMatch(out, /\| +(met|missed) \|/)
  const { rows, namespace } = results()
  assert.equal(namespace, false)
  for (const { kind, floor, clients } of rows) {
    for (const { label, missing, cold, urgent } of clients) {
      // What was asked and came back has been to the far side.
      const { p50 } = kind === 'burst' ? (cold ?? {}) : (urgent ?? {})
      assert.ok(missing || p50 >= floor, `${label}: ${p50} ms`)
    }
  }
})

test('the bench of the wide area refuses what it does not have', async () => {
  const { code, err } = await bench('--only', 'peers,nonsense')
  assert.equal(code, 1)
  assert.match(err, /--only: there is no nonsense; there are peers, /)
  assert.match((await bench('--jitter', '30')).err, /--jitter: must be from 0 to 20, got 30/)
})

function results() {
  return JSON.parse(readFileSync(`${root}/benchmark/results/tmp/network.json`, 'utf8'))
}

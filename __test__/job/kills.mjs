// A job whose process is killed again and again, at random moments, until it may come to its end.

import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MockUpstream } from 'trunkline/testing'
import { begin, trunkline } from '../cli/run.mjs'
import { until } from '../support.mjs'
import { assertOnce, ids, read, request, write } from './support.mjs'

/** Some kills come before the first answer of a run. */
const EARLY = 0.15

const linesOf = (file) => readFileSync(file, 'utf8').split('\n').length - 1
const sizeOf = (file) => (existsSync(file) ? statSync(file).size : 0)

/**
 * @param {{ kills: number, lines: number, latency?: number, tell?: (text: string) => void }} how
 */
export async function kill(files, { kills, lines, latency = 20, tell = () => {} }) {
  const upstream = await MockUpstream.start({ latency, record: false })
  let calls = 0
  // Asked whether it is for another answer, it counts the request and says no.
  upstream.reply(() => {
    calls++
    return false
  }, 'never')
  try {
    write(
      files.input,
      ids(lines).map((id) => request(id)),
    )
    const config = join(files.path, 'config.json')
    // No key of this machine's is asked for, nothing is tried again: what reaches the stand-in was sent once.
    writeFileSync(config, JSON.stringify({ baseURL: `${upstream.url}/v1`, apiKey: 'k', retry: false }))
    const args = ['batch', files.input, '-o', files.output, '--config', config, '--concurrency', '24', '--json']
    for (let n = 1; n <= kills; n++) {
      const before = sizeOf(files.output)
      const run = begin(args)
      if (Math.random() < EARLY) await sleep(Math.random() * 300)
      else {
        await Promise.race([until(() => sizeOf(files.output) > before, 'the run has answers', 60_000), run.ended])
        await sleep(Math.random() * 60)
      }
      run.child.kill('SIGKILL')
      const { code, out, err } = await run.ended
      assert.equal(code, 'SIGKILL', `run ${n} has ended before it was killed: ${out}${err}`)
      if (n % 10 === 0) tell(`${n} kills, ${linesOf(files.output)} lines answered`)
    }
    const { code, out, err } = await trunkline(args)
    assert.equal(code, 0, `${out}${err}`)
    const { status, progress } = JSON.parse(out)
    assert.equal(status, 'done')
    assert.deepEqual([progress.total, progress.succeeded, progress.failed], [lines, lines, 0])
    assertOnce(files, ids(lines))
    // An answer is that of its own line.
    for (const { id, custom_id } of read(files.output))
      assert.equal(Number(id.split('_').at(-1)), Number(custom_id.slice(3)) + 1)
    assert.ok(!existsSync(files.journal) && !existsSync(files.errors))
    // Whatever was asked for more than once is among those that were told.
    const again = calls - lines
    assert.ok(again <= progress.repeated, `${again} calls were made twice, and ${progress.repeated} told`)
    // Those under way, and answers of the last milliseconds, which on a busy machine may be as many again and more.
    assert.ok(progress.repeated <= kills * 100, `${progress.repeated} were told after ${kills} kills`)
    return { again, repeated: progress.repeated, calls }
  } finally {
    await upstream.close()
  }
}

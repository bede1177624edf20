// A process that makes calls: by the client alone, from JavaScript, or by a job from a file to a file.

import { rmSync } from 'node:fs'
import { Trunkline } from 'trunkline'
import { serve } from './child.mjs'
import { request } from './job-input.mjs'

/** @type {Trunkline} */
let line
let concurrency = 64

async function timed(run) {
  const cpu = process.cpuUsage()
  const started = performance.now()
  const answered = await run()
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { answered, seconds, rate: answered / seconds, cpu: (user + system) / answered }
}

serve({
  open(url, at) {
    concurrency = at
    line = new Trunkline({ baseURL: `${url}/v1`, apiKey: 'none', pool: { http2: 'prior-knowledge' } })
  },
  /** Calls one after the other in as many loops as may be under way. */
  bare: (calls) =>
    timed(async () => {
      let [next, answered] = [0, 0]
      const loop = async () => {
        while (next < calls) {
          await line.chat(request(next++))
          answered++
        }
      }
      await Promise.all(Array.from({ length: concurrency }, loop))
      return answered
    }),
  /** From the first look at the input to the last result on the disk. */
  job: (input, output) =>
    timed(async () => {
      const { status, progress } = await line.batchFile(input, output, { concurrency })
      rmSync(output)
      if (status !== 'done' || progress.failed > 0) throw new Error(`the job is ${status}, ${progress.failed} failed`)
      return progress.succeeded
    }),
  /** The input read and checked, and nothing sent: the last line is bad. */
  async check(input, output) {
    const started = performance.now()
    const refused = await line.batchFile(input, output, { badLines: 'refuse' }).then(
      () => null,
      (error) => error,
    )
    if (refused?.reason !== 'badLines') throw refused ?? new Error('a bad line was not seen')
    return { seconds: (performance.now() - started) / 1000 }
  },
  /** In MB. */
  peak: () => process.resourceUsage().maxRSS / 1024,
})

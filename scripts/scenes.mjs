// The promises of scheduling at full size, over real sockets: npm run test:scenes -- [--only outage,urgent]
//
// Each scene is in __test__/scenes/. It tells of the promises that the upstream's log says were broken, and of what was measured; what
// depends on how busy the machine is, is shown and not judged, beside what a thread without work saw of it.

import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
for (const name of Object.keys(process.env)) if (/^(https?|all|no)_proxy$/i.test(name)) delete process.env[name]

const load = (file) => import(pathToFileURL(join(root, '__test__', 'scenes', file)).href)
const { flapping } = await load('flapping.mjs')
const { backPressure } = await load('back-pressure.mjs')
const { learnedLimit } = await load('learned-limit.mjs')
const { outage } = await load('outage.mjs')
const { urgent } = await load('urgent.mjs')
const { startWitness } = await load('pauses.mjs')

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
const pause = ({ max, worked, gc }) => `${ms(max)}, ${worked === null ? 'unknown' : ms(worked)}, ${ms(gc)}`
const percent = (value) => `${(value * 100).toFixed(1)} %`
const megabytes = ([half, end]) => `${half} → ${end} MB`
const list = (counts) =>
  Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ')

const scenes = {
  flapping: {
    run: () => flapping(),
    rows: ({ calls, requests, seconds, memory, own, told }) => [
      ['calls, requests seen, time', `${calls}, ${requests}, ${seconds.toFixed(0)} s`],
      ...[own, told].flatMap((party) => [
        ['ended', list(party.outcomes)],
        [
          'attempts told, never sent, most of one call',
          Object.values(pick(party.attempts, 'told', 'neverSent', 'most')).join(', '),
        ],
        [
          'retries, free ones, most of the budget',
          `${party.budget.retries}, ${party.budget.free}, ${percent(party.budget.most)}`,
        ],
        ['circuits opened, probes', `${party.circuits.opened}, ${party.circuits.probes}`],
        ['Retry-After seen, last request after one', `${party.pauses.refusals}, ${ms(party.pauses.latest)}`],
      ]),
      ['ahead of its own rate, at most', ms(own.ahead)],
      ['RSS, heap from half to end', `${megabytes(memory.rss)}, ${megabytes(memory.heap)}`],
    ],
  },
  'back-pressure': {
    run: () => backPressure(),
    rows: ({ calls, limit, baseline, waiting, refusing }) => [
      ['calls, at once', `${calls}, ${limit}`],
      ['offered in, drained in', `${ms(waiting.offered)}, ${ms(waiting.drained)}`],
      ['each waiting call: RSS, of that JS heap', `${waiting.rssPerCall} B, ${waiting.heapPerCall} B`],
      ['each promise alone: RSS, of that JS heap', `${baseline.rssPerCall} B, ${baseline.heapPerCall} B`],
      ['longest pause, most work in a turn without collection, longest collection', ''],
      ['  while calls are offered', pause(waiting.pauses.offering)],
      ['  while they end', pause(waiting.pauses.draining)],
      ['  while they are refused', pause(refusing.pauses)],
      ['  while promises alone are made', pause(baseline.pauses.offering)],
      ['  while they end', pause(baseline.pauses.ending)],
      ['order: most places early, late', `${waiting.order.early}, ${waiting.order.late}`],
      [
        'refused; after (p50, p99, max)',
        `${refusing.refused}; ${ms(refusing.refusal.p50)}, ${ms(refusing.refusal.p99)}, ${ms(refusing.refusal.max)}`,
      ],
    ],
  },
  'learned-limit': {
    run: async () => together(await Promise.all([learnedLimit(), learnedLimit({ http2: 'prior-knowledge' })])),
    rows: (all) =>
      all.map(({ http2, calls, rate, refusals, seconds, ofAllowed }) => [
        `${calls} calls at ${rate}/s, http2: ${http2}`,
        `${refusals} refused, ${seconds.toFixed(1)} s, ${percent(ofAllowed)} of the allowed rate`,
      ]),
  },
  outage: {
    run: async () => {
      const all = [{}, { models: ['one', 'two', 'three'] }, { fault: { kind: 'reset' } }, { recoveryTimeout: 1000 }]
      return together(await Promise.all(all.map((options) => outage(options))))
    },
    rows: (all) =>
      all.map(({ fault, models, seconds, recoveryTimeout, first, probes, shortest }) => [
        `${seconds} s of ${fault}, ${models} model${models > 1 ? 's' : ''}, recoveryTimeout ${recoveryTimeout} ms`,
        `${first} before it opened, then ${probes} probes, ${shortest === null ? '' : ms(shortest)} apart at least`,
      ]),
  },
  urgent: {
    run: async () => {
      const old = { agingInterval: 100, flood: 2000 }
      return together([
        await urgent(),
        await urgent({ by: 'sockets' }),
        await urgent(old),
        await urgent({ by: 'sockets', ...old }),
      ])
    },
    rows: (all) =>
      all.flatMap(
        ({ calls, limit, by, backlog, agingInterval, wait, service, backgroundPerSecond, overtaken, share }) => [
          [
            'interactive calls; at once, background waiting, agingInterval',
            `${calls}; ${limit} ${by}, ${backlog}, ${ms(agingInterval)}`,
          ],
          ['wait of an interactive call: p50, p99, max', `${ms(wait.p50)}, ${ms(wait.p99)}, ${ms(wait.max)}`],
          ['service time: p50, max', `${ms(service.p50)}, ${ms(service.max)}`],
          ['background calls', `${backgroundPerSecond.toFixed(0)}/s`],
          ['background calls that went first, at most', String(overtaken)],
          ['background calls among a flood of interactive ones', share === null ? '' : percent(share)],
        ],
      ),
  },
}

const { values } = parseArgs({ options: { only: { type: 'string' } } })
const names = values.only?.split(',') ?? Object.keys(scenes)
const unknown = names.find((name) => !(name in scenes))
if (unknown !== undefined) {
  console.error(`--only: there is no ${unknown}; there are ${Object.keys(scenes).join(', ')}`)
  process.exit(1)
}

console.log(`${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores, Node ${process.version}`)
const witness = startWitness()
let count = 0
for (const name of names) {
  globalThis.gc?.()
  witness.reset()
  const began = performance.now()
  const { broken, figures } = await scenes[name].run()
  const seconds = (performance.now() - began) / 1000
  const noise = `load ${loadavg()[0].toFixed(1)}, a thread without work stood still for ${ms(await witness.longest())}`
  console.log(`\n── ${name} (${seconds.toFixed(0)} s; ${noise})`)
  const rows = scenes[name].rows(figures)
  const width = Math.max(...rows.map(([what]) => what.length))
  for (const [what, value] of rows) console.log(`${what.padEnd(width)}  ${value}`)
  for (const what of broken) console.error(`BROKEN  ${what}`)
  count += broken.length
}
await witness.stop()
console.log(count === 0 ? '\nevery promise was kept' : `\n${count} broken promises`)
process.exitCode = count === 0 ? 0 : 1

function pick(object, ...names) {
  return Object.fromEntries(names.map((name) => [name, object[name]]))
}

/** Several runs of one scene as one. */
function together(runs) {
  return { broken: runs.flatMap(({ broken }) => broken), figures: runs.map(({ figures }) => figures) }
}

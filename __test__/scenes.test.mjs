// The scenes of `npm run test:scenes`, each as short as it can be: what they hold against the upstream's log does not depend on how fast this
// machine is.

import assert from 'node:assert/strict'
import test from 'node:test'
import { backPressure } from './scenes/back-pressure.mjs'
import { flapping } from './scenes/flapping.mjs'
import { learnedLimit } from './scenes/learned-limit.mjs'
import { outage } from './scenes/outage.mjs'
import { urgent } from './scenes/urgent.mjs'

/** Fails with each promise that was broken. */
async function holds(scene) {
  const { broken, figures } = await scene
  assert.deepEqual(broken, [])
  return figures
}

test("through an upstream that flaps and limits, every promise holds by the upstream's own log", async () => {
  const { own, told, requests } = await holds(flapping({ calls: 4000, rate: 800 }))
  assert.ok(requests > 500)
  for (const { outcomes, retried, circuits } of [own, told]) {
    assert.ok(outcomes.ok > 0 && outcomes.aborted > 0 && retried > 0 && circuits.opened > 0)
  }
})

test('more calls than may run wait by priority and arrival, or are refused while nothing moves', async () => {
  const { refusing } = await holds(backPressure({ calls: 5000, limit: 20, maxQueue: 1000, latency: 0 }))
  assert.equal(refusing.refused, 4000)
})

test('one call at a time goes exactly by priority, then by arrival', async () => {
  const { waiting } = await holds(backPressure({ calls: 2000, limit: 1, maxQueue: 500, latency: 0 }))
  assert.deepEqual(waiting.order, { early: 0, late: 0 })
})

for (const http2 of ['never', 'prior-knowledge']) {
  test(`after its first answer a burst keeps to the upstream's limit, http2: ${http2}`, async () => {
    await holds(learnedLimit({ calls: 300, rate: 150, burst: 30, http2 }))
  })
}

test('over an outage the upstream sees a probe every recovery time and no more, however it fails', async () => {
  const short = { seconds: 3, recoveryTimeout: 500 }
  const scenes = [
    outage(short),
    outage({ ...short, models: ['one', 'two', 'three'] }),
    outage({ ...short, fault: { kind: 'reset' } }),
  ]
  for (const scene of await Promise.all(scenes)) assert.deepEqual(scene.broken, [])
})

for (const by of ['turns', 'sockets']) {
  test(`with all ${by} taken by background work an interactive call is the next to go, and background still moves`, async () => {
    await holds(urgent({ calls: 40, limit: 4, by, service: 20, backlog: 100 }))
  })

  test(`so it is with all ${by} taken by work that waits for long, of which a fourth goes while more interactive calls wait than can go`, async () => {
    // The backlog waits for half a second at least, and is due after 60 ms.
    await holds(urgent({ calls: 40, limit: 4, by, service: 20, backlog: 100, agingInterval: 20, flood: 300 }))
  })
}

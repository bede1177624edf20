// What this package is to reach in the wide area, and whether it did. Limits are distances from the floor: what the path and the upstream take of
// each call, whoever asks.

import { publishedBurst, publishedReuse } from './plan.mjs'

const OURS = /^trunkline/

/** `{ goal, figure, met }` each; `met` is null where it was not measured. */
export function goalsOf({ rows, roundTrip }) {
  const row = (id) => rows.find((row) => row.id === id)
  const client = (id, label) => row(id)?.clients.find((client) => client.label === label && !client.missing)
  const goals = []
  const add = (goal, value, unit, isMet) =>
    goals.push({
      goal,
      figure: value === undefined || value === null ? null : `${value} ${unit}`.trim(),
      met: value === undefined || value === null ? null : isMet(value),
    })
  const atMost = (goal, value, most, unit) =>
    add(`${goal} ≤ ${round(most)} ${unit}`, value, unit, (value) => value <= most)
  const atLeast = (goal, value, least, unit) =>
    add(`${goal} ≥ ${round(least)} ${unit}`, value, unit, (value) => value >= least)

  for (const { id, title, floor, atOnce } of rows.filter(({ section }) => section === 'peers')) {
    for (const label of ['trunkline h1', 'trunkline h2']) {
      const figures = client(id, label)
      const name = `${label}, ${title}:`
      const limit = (atOnce * 1000) / floor
      if (atOnce === 1) atMost(`${name} p50`, figures?.p50, floor + 1, 'ms')
      if (atOnce === 50) {
        atLeast(`${name}`, figures?.rate, limit * 0.972, 'calls/s')
        atMost(`${name} p50`, figures?.p50, floor + 1.5, 'ms')
        atMost(`${name} p99`, figures?.p99, floor + 6, 'ms')
      }
      if (atOnce === 500) {
        atLeast(`${name}`, figures?.rate, limit * 0.9, 'calls/s')
        atMost(`${name} p50`, figures?.p50, floor + 6, 'ms')
        atMost(`${name} p99`, figures?.p99, floor + 20, 'ms')
        if (label.endsWith('h2')) atMost(`${name} sockets`, figures?.sockets, 6, '')
      }
    }
  }
  const ours = rows
    .filter(({ section }) => section === 'peers')
    .flatMap(({ clients }) => clients.filter(({ label, missing }) => OURS.test(label) && !missing))
  if (ours.length > 0) {
    const reuse = round(Math.min(...ours.map(({ reuse }) => reuse)) * 100)
    atLeast(`calls on connections that were there (published: ${publishedReuse * 100} %)`, reuse, 99, '%')
    atMost(
      'calls that timed out or failed',
      ours.reduce((sum, { failed }) => sum + failed, 0),
      0,
      '',
    )
  }
  const bursting = client('burst', 'trunkline h2')
  if (bursting) {
    const more = (bursting.cold.wall - bursting.warm.wall) / roundTrip
    atMost('500 at once over HTTP/2, what new connections cost', round(more), 3, 'round trips')
    const published = `(published: ${publishedBurst.seconds} s, ${publishedBurst.timesUnpooled} ×)`
    atMost(`500 at once, cold ${published}`, round(bursting.cold.wall / 1000), publishedBurst.seconds, 's')
    const unpooled = client('burst', 'new connection each')
    const times = unpooled && bursting.warm.rate / unpooled.warm.rate
    atLeast(
      `500 at once beside no pool ${published}`,
      times && round(times),
      publishedBurst.timesUnpooled,
      'times the rate',
    )
  }
  for (const { id, title, published, clients } of rows.filter(({ published }) => published)) {
    for (const figures of clients.filter(({ label, missing }) => OURS.test(label) && !missing)) {
      const name = `${figures.label}, ${id.startsWith('guide') ? `for “${title}”` : title}: published`
      if (published.rate) atLeast(name, figures.rate, published.rate, 'calls/s')
      for (const key of ['mean', 'p50', 'p99']) {
        if (published[key]) atMost(`${name} ${key}`, figures[key], published[key], 'ms')
      }
    }
  }
  return goals
}

function round(number) {
  return Number(number.toFixed(number >= 1000 ? 0 : 2))
}

// One workload: every client has a process of its own, and all of them take turns, round by round.

import { start } from './child.mjs'
import { figuresOf, quietRounds, short } from './figures.mjs'
import { machineTime } from './machine.mjs'

const LEAD_IN = { seconds: 0.3 }

/**
 * `options`: the command's; `stage`: where the upstreams are; `staff`: the clients' processes; `tell(text)` is told how far it is.
 */
export async function measureWorkload(workload, { options, stage, staff, tell }) {
  const { id, title, upstream: where, unit, http2 = false, atOnce, calls } = workload
  const { smoke, seconds } = options
  const names = workload.clients.filter((name) => options.clients.includes(name))
  const rounds = Math.min(options.rounds, workload.rounds ?? Infinity)
  // Twice as many at most, where others disturb.
  const passes = smoke ? rounds : rounds * 2
  const upstream = await stage.upstream(where)
  const completions = await upstream.completions(8)
  const scale = smoke ? { atOnce: Math.min(atOnce, 8), calls: 16 } : { atOnce, calls, seconds }
  const warmUp = { ...scale, seconds: smoke ? Number.MAX_SAFE_INTEGER : 1 }
  const clients = []
  try {
    tell(`${title}: the clients are loaded`)
    for (const name of names) {
      clients.push({ name, child: staff.hire(name, upstream.env), sockets: 0, rounds: [] })
    }
    const how = { unit, url: upstream.url, http2, connections: atOnce }
    await Promise.all(
      clients.map(async (client) =>
        Object.assign(client, await client.child.ask('open', { name: client.name, ...how })),
      ),
    )
    for (const client of clients) {
      tell(`${title}: ${client.name} warms up`)
      client.right = await counted(client, () => client.child.ask('check', { unit, atOnce }, completions))
      const warm = await counted(client, () => client.child.ask('run', warmUp))
      client.right &&= warm.wrong === 0
    }
    for (let pass = 0; pass < passes; pass++) {
      // What others disturbed is measured again.
      const due = pass < rounds ? clients : clients.filter((client) => quietRounds(client.rounds) < rounds)
      for (const client of due) {
        tell(`${title}: round ${pass + 1}, ${client.name}`)
        client.rounds.push(await measureRound(client))
      }
    }
    for (const client of clients) client.memory = await client.child.ask('peakMemory')
  } finally {
    tell('')
    await staff.dismiss(clients.map(({ child }) => child))
  }
  return { id, title, unit, rounds, clients: clients.map(summarised) }

  async function measureRound(client) {
    // Not counted: it opens again what closed while the others had their turns.
    if (!smoke) await client.child.ask('run', { ...scale, ...LEAD_IN })
    const before = { upstream: await stage.cpu(), machine: machineTime() }
    const result = await counted(client, () => client.child.ask('run', scale))
    const served = ((await stage.cpu()) - before.upstream) / 1000 / result.wall
    const machine = (machineTime() - before.machine) / result.wall
    // The system counts in ticks: a haste of a few milliseconds says nothing about others.
    const taken = machine - served - (result.cpu * result.calls) / 1000 / result.wall
    const others = result.wall > 200 ? Math.max(0, taken) : 0
    client.right &&= result.wrong === 0 && result.calls > 0
    return { ...result, upstream: served, others }
  }

  /** Only one client runs at a time: what is opened meanwhile is its. */
  async function counted(client, act) {
    const before = await upstream.opened()
    const result = await act()
    client.sockets += (await upstream.opened()) - before
    return result
  }

  function summarised({ name, version, note, right, sockets, memory, rounds: all }) {
    return { name, version, note, right, ...figuresOf(all, rounds), memory: short(memory), sockets }
  }
}

/**
 * The processes of clients. `cores`: those that they may run on, or none for all; `node`: the program that runs them. Each workload has new ones, unless `env`
 * is given: then they have that, and stay from workload to workload, which is as good where nothing is measured.
 */
export function openStaff({ cores, node, env }) {
  const staying = new Map()
  return {
    hire(name, own) {
      if (!env) return start('client.mjs', { cores, node, env: own })
      if (!staying.has(name)) staying.set(name, start('client.mjs', { cores, node, env }))
      return staying.get(name)
    },
    async dismiss(children) {
      if (!env) await Promise.all(children.map((child) => child.stop()))
    },
    async close() {
      await Promise.all([...staying.values()].map((child) => child.stop()))
    },
  }
}

/** What a call costs that no client makes: the bench's own share of every figure. */
export async function measureItself({ options, staff }) {
  const child = staff.hire('nothing')
  try {
    await child.ask('open', { name: 'nothing', unit: 'call' })
    const scale = { atOnce: 64, calls: options.smoke ? 16 : 100_000 }
    await child.ask('run', scale)
    const { loop, cpu } = await child.ask('run', scale)
    return { loop: short(loop), cpu: short(cpu) }
  } finally {
    await staff.dismiss([child])
  }
}

// One path: its upstreams, its clients and its rows. Runs where the path is, and is asked once, by message.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { start } from '../child.mjs'
import { versionOf } from './clients.mjs'
import { medianOf, short } from './figures.mjs'

// Nobody is left to hear of it.
process.on('disconnect', () => process.exit())
process.once('message', async (message) => {
  const stage = await Stage.open(message)
  try {
    const rows = []
    for (const row of message.rows) rows.push(await stage.measure(row))
    process.send({ rows })
  } catch (error) {
    process.send({ error: inspect(error) })
  }
  await stage.close()
  process.disconnect()
})

class Stage {
  static async open({ folder, roundTrip, host }) {
    const stage = new Stage()
    Object.assign(stage, { roundTrip, host, processes: new Map(), upstream: start('network/upstream.mjs') })
    // One authority signs for all upstreams of a process.
    const { port, ca } = await stage.upstream.ask('start', { wait: 0, roundTrip: 0 })
    await stage.upstream.ask('stop', port)
    stage.ca = join(folder, 'ca.pem')
    writeFileSync(stage.ca, ca)
    return stage
  }

  async measure(row) {
    const clients = []
    for (const how of row.clients) {
      const version = versionOf(how.name)
      const label = how.label ?? how.name
      clients.push(version === undefined ? { label, missing: true } : await this.client(row, label, version, how))
    }
    const here = clients.filter(({ missing }) => !missing)
    for (let round = 1; round <= row.rounds; round++) {
      for (const client of here) {
        process.send({ progress: `${row.title}, round ${round} of ${row.rounds}: ${client.label}` })
        await this.open(row, client)
        await this[row.kind](row, client)
      }
    }
    for (const { port } of here) await this.upstream.ask('stop', port)
    const { clients: _, ...rest } = row
    return { ...rest, clients: clients.map((client) => (client.missing ? client : told(row, client))) }
  }

  async client(row, label, version, { name, connections, priorities }) {
    const { port } = await this.upstream.ask('start', { wait: row.wait, roundTrip: this.roundTrip })
    return { label, version, name, connections, priorities, port, results: [], opened: 0, calls: 0, sockets: 0 }
  }

  /** In the process of that client, which has what is compiled and warm. */
  async open(row, client) {
    const { name, connections, port } = client
    if (!this.processes.has(name)) {
      this.processes.set(name, start('network/client.mjs', { env: { NODE_EXTRA_CA_CERTS: this.ca } }))
    }
    client.ask = this.processes.get(name).ask
    await client.ask('open', { name, connections, url: `https://${this.host}:${port}` })
    if (row.kind !== 'burst') await client.ask('run', { atOnce: row.atOnce ?? row.background, calls: row.leadIn })
  }

  async steady({ atOnce, seconds, calls }, client) {
    await this.counted(client, async () => {
      const result = await client.ask('run', { atOnce, seconds, calls })
      client.results.push(result)
      return result.calls + result.failed
    })
  }

  async burst({ calls }, client) {
    await this.counted(client, async () => {
      client.results.push(await client.ask('burst', { calls }))
      return calls * 2
    })
  }

  async overload({ background, urgent, seconds, calls }, client) {
    await this.counted(client, async () => {
      const how = { background, urgent, seconds, calls, priorities: client.priorities }
      const result = await client.ask('overload', how)
      client.results.push(result)
      return result.background.calls + result.urgent.calls
    })
  }

  /** With the sockets that were opened meanwhile, and those that are open in the end. */
  async counted(client, act) {
    const before = await this.upstream.ask('connections', client.port)
    client.calls += await act()
    const after = await this.upstream.ask('connections', client.port)
    client.opened += after.opened - before.opened
    // Those of rounds before may be about to close.
    client.sockets = Math.max(client.sockets, after.open)
  }

  async close() {
    await Promise.all([...this.processes.values(), this.upstream].map((child) => child.stop()))
  }
}

function told({ kind }, { label, version, results, calls, opened, sockets }) {
  const of = (key) => medianOf(results.map((result) => result[key]))
  const figures =
    kind === 'steady'
      ? { ...medianOf(results), reuse: calls > 0 ? short(Math.max(0, 1 - opened / calls)) : null, sockets }
      : kind === 'burst'
        ? { cold: of('cold'), warm: of('warm'), sockets }
        : { background: of('background'), urgent: of('urgent'), sockets }
  return { label, version, ...figures }
}

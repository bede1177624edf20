// A small report, as a run would leave it.

const spread = (median) => ({ median, min: median / 2, max: median * 2 })

/** A client's row: `rate` calls a second, everything else of it as it follows or as given. */
export function client(name, rate, { version = '1.0.0', note = null, memory = 100, sockets = 64, ...figures } = {}) {
  const all = { rate, loop: 1e6 / rate, thread: 1e6 / rate, cpu: 2e6 / rate, p50: 1, p99: 2, upstream: 0.3, others: 0 }
  const spreads = Object.entries({ ...all, ...figures }).map(([key, value]) => [key, spread(value)])
  return { name, version, note, right: true, calls: 1000, ...Object.fromEntries(spreads), memory, sockets }
}

export function workload(id, clients, { title = `the row ${id}`, unit = 'call', rounds = 5 } = {}) {
  return { id, title, unit, rounds, clients }
}

export function report(workloads, rest = {}) {
  return {
    date: '2026-01-02',
    node: '22.0.0',
    machine: { cpu: 'A processor', cores: 2, memory: 8, system: 'linux 6 x64', load: 0.1 },
    pinned: { upstream: '1', clients: null },
    seconds: 2,
    itself: { loop: 0.5, cpu: 0.6 },
    workloads,
    packages: null,
    pool: null,
    goals: [],
    ...rest,
  }
}

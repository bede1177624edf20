// How far to go: what each row is to reach, and whether it did. Ours is always the client that has every policy on; a peer that has several
// rows is held by its best.

const OBJECTS = 'trunkline all on'
const TEXT = 'trunkline text all on'
const UNDICI = ['undici']
const UNDICI_H2 = ['undici', 'undici on one socket']
const SDK = ['openai over undici']

const more = (row, figure, than, times, ours = OBJECTS) => ({ row, figure, sign: '≥', than, times, ours })
const less = (row, figure, than, times, ours = OBJECTS) => ({ row, figure, sign: '≤', than, times, ours })
const most = (row, figure, value, ours = OBJECTS) => ({ row, figure, sign: '≤', value, ours })

/** `row`: a workload, or `package`. With `than`: so many times the best of these; else a value. */
export const goals = [
  more('chat', 'rate', UNDICI, 3),
  more('chat', 'rate', ['openai'], 18),
  most('chat', 'loop', 5),
  most('chat', 'cpu', 12),
  less('chat', 'p99', UNDICI, 1 / 3),
  more('chat-tls', 'rate', UNDICI, 2.5),
  more('chat-h2', 'rate', UNDICI_H2, 8),
  most('chat-h2', 'sockets', 1),
  less('one', 'p50', UNDICI, 1),
  less('one', 'p99', UNDICI, 0.5),
  most('stream', 'loop', 200),
  most('stream', 'loop', 40, TEXT),
  most('paced', 'loop', 300),
  most('paced', 'loop', 100, TEXT),
  less('paced', 'cpu', UNDICI, 0.5),
  less('paced', 'cpu', UNDICI, 0.5, TEXT),
  most('paced', 'memory', 110),
  most('paced', 'memory', 110, TEXT),
  more('chat', 'rate', SDK, 1.5, 'trunkline under openai'),
  less('chat', 'loop', SDK, 0.6, 'trunkline under openai'),
  more('stream', 'rate', SDK, 1.5, 'trunkline under openai'),
  less('stream', 'loop', SDK, 0.6, 'trunkline under openai'),
  most('package', 'load', 10, 'trunkline'),
  most('package', 'size', 6, 'trunkline'),
]

/** Of the goals whose rows were measured: what was reached, and whether that is enough. */
export function judge(report, all = goals) {
  return all.flatMap((goal) => {
    const { row, figure, sign, than, times, value, ours } = goal
    const { title, unit, clients } = rowsOf(report, row) ?? {}
    const own = clients?.find(({ name }) => name === ours)
    const others = clients?.filter(({ name }) => than?.includes(name)) ?? []
    if (!own || others.length < (than?.length ?? 0)) return []
    const reached = figureOf(own, figure)
    const base = than ? bestOf(others, figure, sign) : null
    const [measured, wanted] = base ? [reached / base.value, times] : [reached, value]
    const met = sign === '≥' ? measured >= wanted : measured <= wanted
    // Beside the time that the loop was active, which counts what other processes took from it.
    const processor = figure === 'loop' ? (own.thread?.median ?? null) : null
    return [{ row, title, unit, figure, sign, ours, reached, processor, base, measured, wanted, met }]
  })
}

function rowsOf(report, row) {
  if (row !== 'package') return report.workloads.find(({ id }) => id === row)
  return report.packages && { title: 'the package', unit: null, clients: report.packages.rows }
}

function bestOf(clients, figure, sign) {
  const sorted = clients
    .map((client) => ({ name: client.name, value: figureOf(client, figure) }))
    .sort((a, b) => a.value - b.value)
  return sign === '≥' ? sorted.at(-1) : sorted[0]
}

function figureOf(client, figure) {
  return client[figure].median ?? client[figure]
}

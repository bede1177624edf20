// The command's options, refused where they make no sense.

import { parseArgs } from 'node:util'

export const USAGE = `npm run bench -- [options]

  --only chat,stream   these workloads alone (see below)
  --clients undici,…   these clients alone
  --rounds 5           rounds of each client; medians are of them
  --seconds 2          of each round
  --node 22            in another Node, which is installed for it: 20, 22, 24, 26
  --pin                keep the clients off the upstream's core on a machine of two cores as well
  --smoke              check that everything runs and answers rightly, and measure nothing
  --from FILE          print what an earlier run wrote, and measure nothing
  --write              what was measured becomes what the repository shows: benchmark/results/, README.md, docs/benchmark.md`

const OPTIONS = {
  only: { type: 'string' },
  clients: { type: 'string' },
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '2' },
  node: { type: 'string' },
  pin: { type: 'boolean', default: false },
  smoke: { type: 'boolean', default: false },
  from: { type: 'string' },
  write: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
}

/** What was asked for makes no sense; nothing else is wrong. */
export class UsageError extends Error {}

/** `ids` and `names`: the workloads and clients that there are; `nodes`: the versions. Throws a UsageError that says what is wrong. */
export function readOptions(args, { ids, names, nodes }) {
  const values = valuesOf(args)
  const { node, pin, smoke, from, write, help } = values
  const only = listed('only', values.only, ids)
  const clients = listed('clients', values.clients, names)
  if (node !== undefined && !nodes.includes(node)) {
    throw new UsageError(`--node: there is no ${node}; there are ${nodes.join(', ')}`)
  }
  const whole = values.only === undefined && values.clients === undefined && !smoke
  if (write && !whole) throw new UsageError('--write: takes a whole run, without --only, --clients and --smoke')
  if (from !== undefined && (!whole || node !== undefined)) {
    throw new UsageError('--from: what was measured is shown as it is, without --only, --clients, --smoke and --node')
  }
  const rounds = smoke ? 1 : number('rounds', values.rounds)
  if (!Number.isInteger(rounds)) throw new UsageError(`--rounds: must be a whole number, got ${values.rounds}`)
  return { only, clients, rounds, seconds: number('seconds', values.seconds), node, pin, smoke, from, write, help }
}

function valuesOf(args) {
  try {
    return parseArgs({ args, options: OPTIONS }).values
  } catch (error) {
    throw new UsageError(error.message)
  }
}

function listed(name, value, all) {
  const wanted = value?.split(',') ?? all
  const unknown = wanted.find((one) => !all.includes(one))
  if (unknown !== undefined)
    throw new UsageError(`--${name}: there is no ${unknown || "''"}; there are ${all.join(', ')}`)
  return wanted
}

function number(name, value) {
  const number = Number(value)
  if (!(number > 0 && Number.isFinite(number))) throw new UsageError(`--${name}: must be above 0, got ${value}`)
  return number
}

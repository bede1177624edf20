// One fault, between two protocols, asked in one way: which of its promises were broken. What counts is the upstreams' own log; how long it took
// by the clock is only held against anything at full length.

import { until } from '../support.mjs'
import { ANSWER, asked, call, FORTY, PAIRS, show, sleep, stage, USAGE, WAYS } from './stage.mjs'
import { FAULTS } from './table.mjs'

/** Timers and clocks of two threads agree to this. */
const SLACK = 5

/**
 * Every fault in every way between all pairs of protocols, so many at a time. `speed`: how many times faster than at full length; 1 is full length.
 * @returns {Promise<{ fault: string, pair: string, way: string, broken: string[], attempts: string, seconds: number }[]>}
 */
export async function performAll({ speed, faults = FAULTS, ways = Object.keys(WAYS), atOnce = 24 }) {
  const t = (time) => time / speed
  const runs = faults.flatMap((fault) => PAIRS.flatMap((pair) => ways.map((way) => ({ fault, pair, way }))))
  const wanted = runs.filter(({ fault, pair, way }) => fault.ways?.[way] !== null && (fault.isFor?.(pair) ?? true))
  // The longest first.
  wanted.sort((one, other) => (other.fault.outage ?? 0) - (one.fault.outage ?? 0))
  const results = []
  const work = async () => {
    for (let run = wanted.shift(); run !== undefined; run = wanted.shift()) {
      const { fault, pair, way } = run
      const made = fault.outage ? outage : single
      const outcome = await made(fault, { pair, way, t, isFull: speed === 1 }).catch((error) => failure(error))
      results.push({ fault: fault.name, pair: `${pair.primary} → ${pair.backup}`, way, ...outcome })
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return results
}

function failure(error) {
  return { broken: [String(error.stack ?? error)], attempts: '?', seconds: 0 }
}

/** One call, while the primary has a fault. */
async function single(fault, { pair, way, t, isFull }) {
  const wanted = { ...fault, ...fault.ways?.[way] }
  const { primary, backup, line, events, close } = await stage({ ...fault, pair, t })
  try {
    for (const [kind, scope] of fault.faults({ t, pair })) primary.fault(kind, scope)
    const got = await call(line, way)
    const logs = { primary: asked(primary), backup: asked(backup) }
    const broken = [
      ...outcome(wanted, got),
      ...counts(wanted, logs),
      ...(await waits(wanted, logs.primary, events, t)),
      ...handedOver(wanted, logs, t),
      ...(await changes(wanted, events)),
      ...prefills(wanted, logs),
      ...accounts(wanted, got, line),
    ]
    if (isFull && wanted.within && got.seconds * 1000 > wanted.within) {
      broken.push(`the answer took ${got.seconds.toFixed(1)} s, of ${wanted.within / 1000}`)
    }
    return { broken, attempts: `${logs.primary.length}+${logs.backup.length}`, seconds: got.seconds }
  } finally {
    await close()
  }
}

/** The complete canonical answer, once; or the error that there has to be, and what came before it. */
function outcome(wanted, got) {
  const { error, text, finish, model, meta, restarts, usage } = got
  if (wanted.error) return error?.name === wanted.error ? [] : [`expected ${wanted.error}, got ${told(got)}`]
  if (wanted.interrupted) {
    const partial = error?.partial?.choices[0]
    if (error?.name !== 'StreamInterruptedError' || !partial)
      return [`expected a StreamInterruptedError, got ${told(got)}`]
    const isPart = FORTY.startsWith(partial.message.content) && partial.message.content.length > 0
    return isPart && partial.finish_reason === null ? [] : [`the partial answer is ${JSON.stringify(partial)}`]
  }
  if (text !== ANSWER) return [`expected the canonical answer, got ${told(got)}`]
  const who = wanted.backup > 0 ? 'backup' : 'primary'
  const broken = []
  if (finish !== 'stop') broken.push(`finish_reason is ${finish}`)
  if (restarts !== (wanted.restarts ?? 0)) broken.push(`${restarts} restarts were told, of ${wanted.restarts ?? 0}`)
  if (model !== `${who}-model` || meta.model !== model || meta.provider !== who) {
    broken.push(`the model is ${model}, in the meta ${meta.provider}/${meta.model}, and ${who} has answered`)
  }
  for (const [place, told] of [
    ['answer', usage],
    ['meta', meta.usage],
  ]) {
    const { prompt_tokens, completion_tokens } = USAGE[who]
    if (told?.prompt_tokens !== prompt_tokens || told?.completion_tokens !== completion_tokens) {
      broken.push(`the usage in the ${place} is not of ${who}: ${JSON.stringify(told)}`)
    }
  }
  return broken
}

function told({ error, text }) {
  return error ? `${error.name}: ${error.message}` : show(text)
}

function counts(wanted, logs) {
  return ['primary', 'backup']
    .filter((name) => logs[name].length !== wanted[name])
    .map((name) => `${name} was asked ${logs[name].length} times, expected ${wanted[name]}`)
}

/** Before each retry the primary is left alone: for as long as it said, or as long as the client drew. */
async function waits({ gaps }, log, events, t) {
  const taken = log.slice(1).map(({ at }, n) => at - log[n].at)
  if (gaps === undefined || taken.length === 0) return []
  await until(() => events.retry.length >= taken.length)
  const delays = events.retry.map(({ delay }) => delay)
  return taken.flatMap((gap, n) => {
    const [least, bound] = gaps === 'backoff' ? [delays[n], t(500) * 2 ** n] : [t(gaps), t(gaps)]
    const broken = []
    if (gap < least - SLACK) broken.push(`retry ${n + 1} came after ${gap} ms, and not after ${least}`)
    if (delays[n] > bound + SLACK)
      broken.push(`the delay before retry ${n + 1} is ${delays[n]} ms, of ${bound} at most`)
    return broken
  })
}

/** Silence is waited for as long as the limit has it, and then the fall-back is asked. The limit runs from before the upstream's log. */
function handedOver({ after }, { primary, backup }, t) {
  if (after === undefined || primary.length === 0 || backup.length === 0) return []
  const gap = backup[0].at - primary[0].at
  return gap >= 0.75 * t(after) ? [] : [`the fall-back was asked after ${gap} ms, before the limit of ${t(after)}`]
}

/** That another target is asked is told once. */
async function changes({ backup }, { failover }) {
  const wanted = backup > 0 ? ['primary/primary-model → backup/backup-model'] : []
  await until(() => failover.length >= wanted.length)
  const told = failover.map(({ from, to }) => `${from} → ${to}`)
  return told.join() === wanted.join() ? [] : [`the failovers told are ${JSON.stringify(told)}`]
}

/** Only who goes on is given the beginning of an answer. */
function prefills({ prefilled = false }, { primary, backup }) {
  const isPrefilled = ({ last }) => last !== 'user'
  const broken = []
  if (primary.some(isPrefilled)) broken.push('the primary was given a prefill')
  if (backup.some((request) => isPrefilled(request) !== prefilled)) {
    broken.push(`the fall-back was given ${prefilled ? 'no' : 'a'} prefill`)
  }
  return broken
}

/** One call, of which all attempts are told, and whose tokens are counted once. */
function accounts(wanted, { error, meta }, line) {
  const broken = []
  const { requests, tokens } = line.metrics()
  const isGood = !wanted.error && !wanted.interrupted
  const who = wanted.backup > 0 ? 'backup' : 'primary'
  const expected = isGood ? [USAGE[who].prompt_tokens, USAGE[who].completion_tokens] : [0, 0]
  if (tokens.input !== expected[0] || tokens.output !== expected[1]) {
    broken.push(`the metrics have ${tokens.input} and ${tokens.output} tokens, expected ${expected.join(' and ')}`)
  }
  if (requests.started !== 1 || requests.succeeded !== Number(isGood) || requests.failed !== Number(!isGood)) {
    broken.push(`the metrics have ${JSON.stringify(requests)}`)
  }
  const attempts = (meta ?? error).attempts ?? []
  const names = attempts.map(({ provider }) => provider).join()
  const order = [...Array(wanted.primary).fill('primary'), ...Array(wanted.backup).fill('backup')].join()
  if (names !== order) broken.push(`the attempts are told as of ${names}`)
  if (isGood && attempts.at(-1)?.billed !== 'yes') broken.push('the attempt that answered is not billed')
  const billed = attempts.map((attempt) => attempt.billed).join()
  if (wanted.billed && billed !== wanted.billed.join()) broken.push(`billed is ${billed}, expected ${wanted.billed}`)
  return broken
}

/** Calls one after the other, while the primary is out, and until its circuit has closed again. */
async function outage(fault, { pair, way, t, isFull }) {
  const { primary, backup, line, events, close } = await stage({ pair, t })
  try {
    const lasting = t(fault.outage)
    const [began, start] = [Date.now(), performance.now()]
    primary.fault(fault.fault, { for: lasting })
    const broken = []
    let calls = 0
    const closed = () => events.circuit.find(({ provider, state }) => provider === 'primary' && state === 'closed')
    while (!closed()) {
      const got = await call(line, way)
      calls += 1
      if (got.text !== ANSWER || got.finish !== 'stop') broken.push(`call ${calls} ended with ${told(got)}`)
      if (performance.now() - start > 4 * lasting) throw new Error('the circuit did not close again')
      await sleep(t(500))
    }
    const opened = events.circuit.find(({ state }) => state === 'open')
    if (opened?.provider !== 'primary') broken.push('the circuit of the primary did not open')
    const during = asked(primary).filter(({ at }) => at < began + lasting).length
    // What opens it, and then one probe for each time of recovery.
    const most = 5 + Math.ceil(fault.outage / 10_000) + 1
    if (during > most) broken.push(`the primary was asked ${during} times during the outage, ${most} would do`)
    if (events.circuit.some(({ provider }) => provider === 'backup')) broken.push('the circuit of the fall-back opened')
    const last = await call(line, way)
    if (last.meta?.provider !== 'primary') broken.push(`after the outage ${last.meta?.provider} has answered`)
    const late = closed().at - began - lasting
    if (isFull && late > fault.recovered) broken.push(`the circuit closed ${late} ms after the outage`)
    const { requests, tokens } = line.metrics()
    if (requests.failed > 0) broken.push(`${requests.failed} calls failed`)
    const said = { primary: requests.succeeded - asked(backup).length, backup: asked(backup).length }
    const input = said.primary * USAGE.primary.prompt_tokens + said.backup * USAGE.backup.prompt_tokens
    if (tokens.input !== input) broken.push(`the metrics have ${tokens.input} tokens of prompts, expected ${input}`)
    return { broken, attempts: `${during}+${said.backup}`, seconds: Math.max(0, late) / 1000 }
  } finally {
    await close()
  }
}

'use strict'

/** What a larger pool would change, in plain words, by the client's own figures of the last minutes. */

/** Shares of a call's time below this are not worth a setting. */
const MATTERS = 0.02

/**
 * @typedef {{ verdict: 'unknown' | 'nothing' | 'larger' | 'origin' | 'warm', title: string, text: string,
 *   connections: number | null, wait: number, waitShare: number, turns: number, turnShare: number, mean: number,
 *   peak: number, wanted: number, max: number }} Advice
 */

/**
 * @param {any[]} samples of the last minutes, the oldest first @param {any} metrics as they are now
 * @returns {Advice}
 */
function advise(samples, metrics) {
  const first = samples[0]
  const last = samples.at(-1)
  const calls = last.calls - first.calls
  const { max } = metrics.pool.connections
  const peak = most(samples, ({ busy }) => busy)
  const wanted = most(samples, ({ wanted }) => wanted)
  const took = last.took - first.took
  const of = (/** @type {string} */ name) => Math.max(0, last[name] - first[name])
  const figures = {
    connections: null,
    mean: calls > 0 ? took / calls : 0,
    wait: calls > 0 ? of('waited') / calls : 0,
    waitShare: took > 0 ? Math.min(1, of('waited') / took) : 0,
    turns: calls > 0 ? of('turns') / calls : 0,
    turnShare: took > 0 ? Math.min(1, of('turns') / took) : 0,
    peak,
    wanted,
    max,
  }
  if (calls <= 0 || took <= 0)
    return { ...figures, verdict: 'unknown', title: 'Too early to say', text: 'No call has ended in the last minutes.' }

  const { wait, waitShare, mean } = figures
  const waited = `A call waited ${time(wait)} for a connection in the mean, ${percent(waitShare)} of its ${time(mean)}`
  const others = turnsOf(figures)
  const inUse = `${peak} of ${many(max, 'connection')} ${peak === 1 ? 'was' : 'were'}`
  if (waitShare < MATTERS) {
    const used =
      peak >= max
        ? `${max === 1 ? 'The one connection was' : `All ${max} connections were`} in use at times, yet a call`
        : `At most ${inUse} in use at one time, and a call`
    const text = `${used} waited ${time(wait)} for one in the mean, ${percent(waitShare)} of its ${time(mean)}.${others}`
    return { ...figures, verdict: 'nothing', title: 'Nothing', text }
  }
  if (peak >= max) {
    // As `recommendPool` has it: a tenth more for bursts.
    const connections = Math.max(max + 1, Math.ceil(wanted * 1.1))
    return {
      ...figures,
      connections,
      verdict: 'larger',
      title: `Calls would be up to ${time(wait)} faster`,
      text: `${waited}, with ${max === 1 ? 'the one connection' : `all ${max} connections`} in use. Up to ${many(wanted, 'call')} wanted one at a time: pool.maxConnections: ${connections} would take most of that wait away.${others}`,
    }
  }
  if (last.waiting > 0 || wanted > peak) {
    return {
      ...figures,
      verdict: 'origin',
      title: 'A larger total: nothing',
      text: `${waited}, though at most ${inUse} in use: what is full is the limit of one origin, lane or tenant (pool.maxConnectionsPerOrigin, pool.lanes, tenants.maxConnections). Up to ${many(wanted, 'call')} wanted a connection at a time.${others}`,
    }
  }
  const opened = of('opened')
  return {
    ...figures,
    verdict: 'warm',
    title: 'Nothing; a warmer one would help',
    text: `${waited}, though at most ${inUse} in use: ${opened} had to be opened first${opened > 0 ? `, each in ${time(of('handshakes') / opened)}` : ''}. warmup(), or more of pool.maxIdleConnections and pool.idleTimeout, keeps them ready.${others}`,
  }
}

/** @param {{ turns: number, turnShare: number }} figures */
function turnsOf({ turns, turnShare }) {
  if (turnShare < MATTERS) return ''
  return ` It also waited ${time(turns)} for its turn (${percent(turnShare)}): that is concurrency, rateLimit or what the provider allows, which no pool changes.`
}

/** @param {number} n @param {string} what one of them */
function many(n, what) {
  return `${n} ${what}${n === 1 ? '' : 's'}`
}

/** @param {any[]} samples @param {(sample: any) => number} figure */
function most(samples, figure) {
  return samples.reduce((most, sample) => Math.max(most, figure(sample)), 0)
}

/** @param {number} ms */
function time(ms) {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(0)} s`
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`
  return `${ms >= 10 ? ms.toFixed(0) : ms.toFixed(ms >= 0.1 || ms === 0 ? 1 : 2)} ms`
}

/** @param {number} share */
function percent(share) {
  return `${(share * 100).toFixed(share >= 0.1 ? 0 : 1)} %`
}

module.exports = { advise }

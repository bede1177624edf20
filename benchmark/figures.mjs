// What becomes of the rounds: medians and ranges.

/** Of a core, by processes that are no part of the bench. */
export const NOISE = 0.1

const SPREAD = ['rate', 'loop', 'thread', 'cpu', 'p50', 'p99', 'upstream', 'others']

/** Of the quietest of all rounds, as many as were asked for. */
export function figuresOf(all, rounds) {
  const kept = [...all].sort((a, b) => a.others - b.others).slice(0, rounds)
  const calls = kept.reduce((sum, round) => sum + round.calls, 0)
  return { calls, ...Object.fromEntries(SPREAD.map((key) => [key, spread(kept.map((round) => round[key]))])) }
}

/** Null where the system does not tell. */
export function spread(values) {
  if (values.length === 0 || values.includes(null)) return null
  const sorted = [...values].sort((a, b) => a - b)
  return { median: short(median(sorted)), min: short(sorted[0]), max: short(sorted.at(-1)) }
}

/** Of sorted values. */
export function median(sorted) {
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2
}

export function quietRounds(rounds) {
  return rounds.filter(({ others }) => others <= NOISE).length
}

/** Four digits: more would say what is not known. */
export function short(number) {
  return Number(number.toPrecision(4))
}

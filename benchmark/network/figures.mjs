// Figures of calls, and of rounds of them. Times are ms.

/** Of one round: what its calls took, those that failed, and how long all of it lasted. */
export function figuresOf(latencies, failures, wall) {
  latencies.sort((a, b) => a - b)
  const sum = latencies.reduce((total, latency) => total + latency, 0)
  return {
    calls: latencies.length,
    failed: failures.length,
    timedOut: failures.filter(isTimeout).length,
    why: failures.length > 0 ? String(failures[0]) : null,
    wall,
    rate: (latencies.length * 1000) / wall,
    mean: latencies.length > 0 ? sum / latencies.length : null,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
  }
}

/** The medians of rounds; what is counted is added up. */
export function medianOf(rounds) {
  const total = (key) => rounds.reduce((sum, round) => sum + round[key], 0)
  const middle = (key) => median(rounds.map((round) => round[key]).filter((value) => value !== null))
  const medians = Object.fromEntries(['wall', 'rate', 'mean', 'p50', 'p99'].map((key) => [key, middle(key)]))
  const why = rounds.find((round) => round.why !== null)?.why ?? null
  return { calls: total('calls'), failed: total('failed'), timedOut: total('timedOut'), why, ...medians }
}

export function median(values) {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  return short((sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2)
}

export function short(number) {
  return Number(number.toPrecision(4))
}

/** Of sorted values. */
function quantile(sorted, share) {
  return sorted.length > 0 ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null
}

/** Clients say it by name, code or words, some of them in the cause. */
function isTimeout(error) {
  for (let cause = error; cause; cause = cause.cause) {
    if (/time-?d?\s?-?out/i.test(`${cause.name} ${cause.code} ${cause.message}`)) return true
  }
  return false
}

// Whether a process holds as much at the end as it did after the first tenth.

import { median } from '../scale/judge.mjs'

/**
 * The drift of a figure over samples `{ at, [figure]: value }`: the line through them by Theil and Sen's estimator (the median of the slopes between all pairs), which a few
 * outliers do not turn, times the span of `at`. Met if that is not above `most`, or `share` of the level, whichever is more; a figure that falls is no leak.
 */
export function drift(samples, { figure, most = 0, share = 0 }) {
  const known = samples.filter((sample) => typeof sample[figure] === 'number')
  if (known.length < 3) return { figure, met: null, drift: null, level: null, most: null, each: null }
  const slopes = []
  for (let one = 0; one < known.length; one++) {
    for (let other = one + 1; other < known.length; other++) {
      const span = known[other].at - known[one].at
      if (span > 0) slopes.push((known[other][figure] - known[one][figure]) / span)
    }
  }
  const slope = median(slopes)
  const level = median(known.map((sample) => sample[figure]))
  const whole = slope * (known.at(-1).at - known[0].at)
  const bound = Math.max(most, share * level)
  return { figure, met: whole <= bound, drift: whole, level, most: bound, each: slope }
}

/** What no sample may pass. */
export function bound(samples, { figure, most }) {
  const values = samples.map((sample) => sample[figure]).filter((value) => typeof value === 'number')
  const largest = values.length === 0 ? null : Math.max(...values)
  return { figure, met: largest === null ? null : largest <= most, largest, most }
}

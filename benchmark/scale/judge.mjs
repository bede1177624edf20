// Whether costs grow as they may.

/**
 * What becomes of a goal over the points of a series, each `{ x, [figure]: value }`, in the order in which x grows; points without the figure are left out.
 *
 * `flat`: no value is above `within` times one before it: that it falls is no fault. `linear`: so it is with the value for each of what grows; of a cost that
 * has a fixed part that falls too. `bound`: the value where x is `at` is not above `most`. `from`: smaller points are not looked at. `most` of a linear figure
 * is for each of what grows. Returns `{ met, growth, value, … }`, `met` null where there is too little to say.
 */
export function judge({ figure, shape, within, from = 0, at, most }, points) {
  const known = points.filter((point) => typeof point[figure] === 'number')
  if (shape === 'bound') {
    const value = known.find(({ x }) => x === at)?.[figure] ?? null
    return { met: value === null ? null : value <= most, growth: null, value, most }
  }
  const looked = known.filter(({ x }) => typeof x !== 'number' || x >= from)
  const values = looked.map((point) => (shape === 'linear' ? point[figure] / point.x : point[figure]))
  if (values.length === 0 || (values.length < 2 && most === undefined)) return { met: null, growth: null, value: null }
  const growth = growthOf(values)
  const largest = Math.max(...values)
  const met = growth <= within && (most === undefined || largest <= most)
  return most === undefined ? { met, growth, within } : { met, growth, within, value: largest, most }
}

/** The most that a value is above one before it, as a ratio; 1 where none is. */
export function growthOf(values) {
  let [least, growth] = [Number.POSITIVE_INFINITY, 1]
  for (const value of values) {
    least = Math.min(least, value)
    growth = Math.max(growth, value / least)
  }
  return growth
}

export function median(values) {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

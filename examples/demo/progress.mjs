// Progress: one line that is updated in place on a terminal, plain lines elsewhere.

/** `label: done of total`. Returns `tick()` and `end(words)`. */
export function progress(label, total) {
  const live = process.stdout.isTTY
  let done = 0
  let shown = 0
  return {
    tick() {
      done++
      if (!live || performance.now() - shown < 50) return
      shown = performance.now()
      process.stdout.write(`\r\x1b[K  ${label}: ${done} of ${total}`)
    },
    end(words) {
      process.stdout.write(`${live ? '\r\x1b[K' : ''}  ${label}: ${words}\n`)
    },
  }
}

/** Runs `one(number)` for each number below `count`, so many at once; the results in order. */
export async function each(count, atOnce, one) {
  const results = []
  let next = 0
  const worker = async () => {
    while (next < count) {
      const number = next++
      results[number] = await one(number)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, worker))
  return results
}

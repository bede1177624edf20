// What the scenes hold against logs and errors.

import { setTimeout as sleep } from 'node:timers/promises'

/** Promises that were broken. Of each place the first few are told, so that one cause does not hide the others. */
export class Broken {
  list = []
  #count = 0

  /** @param {boolean} holds @param {() => string} what */
  check(holds, what) {
    if (holds) return
    this.#count += 1
    if (this.list.length < 20) this.list.push(what())
    else this.list[20] = `… and ${this.#count - 20} more`
  }
}

/** Waits for what must come about soon; whether it did. */
export async function until(condition, limit = 10_000) {
  const end = performance.now() + limit
  while (!(await condition())) {
    if (performance.now() > end) return false
    await sleep(2)
  }
  return true
}

/**
 * By how many milliseconds a log is ahead of `burst + perSecond × t`, in the window where it is furthest: what goes through any window of
 * `t` ms is at most what may go in `t` plus this. 0 where the limit holds exactly.
 */
export function mostAhead(times, { perSecond, burst }) {
  const each = 1000 / perSecond
  let [due, most] = [0, 0]
  for (const at of times) {
    // When a bucket that is filled at this rate would be full again (the generic cell rate algorithm, ITU-T I.371).
    due = Math.max(due, at) + each
    most = Math.max(most, due - at - burst * each)
  }
  return most
}

/** Attempts of which the upstream cannot know. */
export function isNeverSent({ status, error }) {
  return status === null && (error === 'ERR_CIRCUIT_OPEN' || error === 'ERR_QUEUE_FULL')
}

const BY_STATUS = {
  400: ['BadRequestError'],
  429: ['RateLimitError'],
  500: ['InternalServerError'],
  503: ['InternalServerError'],
}
/** What may become of an answer that began well. */
const BROKEN_OFF = [
  'ConnectionError',
  'TimeoutError',
  'StreamInterruptedError',
  'InvalidResponseError',
  'InternalServerError',
  'APIError',
]
const UNANSWERED = ['ConnectionError', 'TimeoutError', 'CircuitOpenError', 'QueueFullError', 'InvalidResponseError']

/** Whether an error is of the class that its last attempt calls for. */
export function rightClass(error) {
  const attempts = error.attempts ?? []
  // Where a circuit has opened in the middle of a call, what opened it is told.
  const last = attempts.findLast((attempt) => attempt.error !== 'ERR_CIRCUIT_OPEN') ?? attempts.at(-1)
  if (last === undefined || last.error !== error.code) return false
  const classes = last.status === null ? UNANSWERED : (BY_STATUS[last.status] ?? BROKEN_OFF)
  return classes.includes(error.name)
}

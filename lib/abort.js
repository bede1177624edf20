'use strict'

/**
 * AbortSignals: one listener for each signal, however many calls share it, and none once they have ended.
 */

/** @typedef {{ cancel(reason: unknown): void }} Cancellable */

/** @type {WeakMap<AbortSignal, { waiting: Set<Cancellable>, listener: () => void }>} */
const watched = new WeakMap()

/** @param {AbortSignal} signal @param {Cancellable} party */
function watch(signal, party) {
  let watch = watched.get(signal)
  if (watch === undefined) {
    const waiting = new Set()
    const listener = () => {
      watched.delete(signal)
      for (const party of waiting) party.cancel(signal.reason)
    }
    watch = { waiting, listener }
    watched.set(signal, watch)
    signal.addEventListener('abort', listener, { once: true })
  }
  watch.waiting.add(party)
}

/** @param {AbortSignal} signal @param {Cancellable} party */
function unwatch(signal, party) {
  const watch = watched.get(signal)
  if (watch === undefined) return
  watch.waiting.delete(party)
  if (watch.waiting.size === 0) {
    watched.delete(signal)
    signal.removeEventListener('abort', watch.listener)
  }
}

/** The reason of an abort without one. @param {unknown} reason */
function reasonOf(reason) {
  return reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason
}

module.exports = { watch, unwatch, reasonOf }

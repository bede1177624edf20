'use strict'

/**
 * Timers as they were when this was loaded. What a test suite puts in their place later (Jest's and Vitest's fake timers, `mock.timers` of node:test) stands
 * still, and a call would with it.
 */

const { clearTimeout, queueMicrotask, setImmediate, setTimeout } = globalThis

module.exports = { clearTimeout, queueMicrotask, setImmediate, setTimeout }

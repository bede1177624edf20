'use strict'

/**
 * Node's own timers, as they were when this was loaded. What a test suite puts in their place (Jest's and Vitest's fake timers, `mock.timers` of node:test)
 * stands still, and a call would with it.
 */

const { clearTimeout, setImmediate, setTimeout } = require('node:timers')
const { queueMicrotask } = globalThis

module.exports = { clearTimeout, queueMicrotask, setImmediate, setTimeout }

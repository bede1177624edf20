'use strict'

/** An EventEmitter that knows when somebody listens: what nobody listens to need not cross the border. */

const { EventEmitter } = require('node:events')

class Emitter extends EventEmitter {
  /** Listeners have come or gone. */
  listenersChanged() {}
}

// All ways in and out: `once` and its like go through these. Not by `newListener` and `removeListener`: listeners for those
// would be counted, and `removeAllListeners()` would take them away.
for (const name of /** @type {const} */ ([
  'on',
  'addListener',
  'prependListener',
  'off',
  'removeListener',
  'removeAllListeners',
])) {
  const inherited = /** @type {(this: Emitter, ...args: unknown[]) => unknown} */ (EventEmitter.prototype[name])
  Object.defineProperty(Emitter.prototype, name, {
    configurable: true,
    writable: true,
    /** @this {Emitter} @param {...unknown} args */
    value: function (...args) {
      if (!(this instanceof Emitter))
        throw new TypeError(`Trunkline.${name} was called without its client: call line.${name}(…), or bind it`)
      const result = inherited.apply(this, args)
      this.listenersChanged()
      return result
    },
  })
}

module.exports = { Emitter }

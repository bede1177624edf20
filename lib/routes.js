'use strict'

/** Routes whose model a function of the user's selects. It is asked here: a question from Rust would cost each call a turn of the event loop. */

const { kindOf } = require('./encode.js')
const { configError } = require('./errors.js')

class Selects {
  /** By the names of their routes. @type {Map<string, { select: Function, hasTargets: boolean }>} */
  #routes = new Map()

  /** What of a client's routes selects; null for nothing. @param {any} routes */
  static of(routes) {
    const selects = new Selects()
    for (const [name, route] of Object.entries(routes)) {
      if (typeof route?.select !== 'function') continue
      selects.#routes.set(name, { select: route.select, hasTargets: route.targets !== undefined })
    }
    return selects.#routes.size > 0 ? selects : null
  }

  get names() {
    return [...this.#routes.keys()]
  }

  /** The request with the model that its route selects. @param {any} request */
  routed(request) {
    let routed = request
    /** @type {string[]} */
    const seen = []
    for (;;) {
      const name = routed?.model
      const route = this.#routes.get(name)
      if (route === undefined) return routed
      seen.push(name)
      const model = selected(route.select, routed, `routes.${name}.select`)
      if (model === name && route.hasTargets) return routed
      if (seen.includes(model)) {
        throw configError(`routes.${name}.select: goes round: ${[...seen, model].join(', ')}`)
      }
      routed = { ...routed, model }
    }
  }
}

/** The name that a route's own function gives. @param {Function} select @param {object} request @param {string} path */
function selected(select, request, path) {
  let model
  try {
    model = select(request)
  } catch (cause) {
    throw configError(`${path}: threw`, cause)
  }
  if (typeof model !== 'string' || model === '') {
    // One that was asynchronous and then fails is nobody's to handle.
    if (model instanceof Promise) model.catch(() => {})
    const kind = model === '' ? 'an empty string' : kindOf(model)
    throw configError(`${path}: must give the name of a route or a model, got ${kind}`)
  }
  return model
}

module.exports = { Selects }

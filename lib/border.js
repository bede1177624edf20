'use strict'

/**
 * This environment's end of the border: numbers for calls, and letters to whoever has the number. Each number that was
 * started comes back in exactly one end, and is given out again only after it.
 */

const native = require('./native.js')
const { setImmediate } = require('./timers.js')

/**
 * What has a number.
 * @typedef {{
 *   client: object | null,
 *   answered(body: string, meta: string): void,
 *   failed(description: string): void,
 *   aborted(): void,
 *   pieces(text: string, bytes: number): void,
 *   witness: InstanceType<typeof import('./witness.js').Witness> | null,
 *   piece?(text: string, bytes: number): void,
 *   told?(text: string): void,
 *   headed?(status: number, head: string): void,
 *   bytes?(piece: ArrayBuffer): void,
 *   ask?(): void,
 *   fetched?(status: number, head: string | undefined, body: string | ArrayBuffer | undefined): void,
 *   cancel(reason: unknown): void
 * }} Party
 */

// As src/node/wire.rs and src/node/border.rs have them.
const LETTERS = 256
const WORDS = 4
const ANSWER = 1
const FAILURE = 2
const ABORTED = 3
const PIECES = 4
const ASK_KEY = 5
const ASK_MATCH = 6
const CONNECTIONS = 7
const EVENTS = 8
const HEAD = 9
const BYTES = 10
const ASK = 11
const FETCHED = 12
const PIECE = 13
const TOLD = 20
const ASK_HOOK = 21
const LOGS = 22

const words = new Uint32Array(LETTERS * WORDS)

/** By number; null where the number is free. @type {(Party | null)[]} */
const parties = []
/** @type {number[]} */
const free = []

/** @type {{ key: (client: number, fn: number) => void, match: (question: number, matcher: number, request: string) => void }} */
const questions = { key() {}, match() {} }

/** @type {Record<'connections' | 'events' | 'logs', (client: number, events: string, lost: number) => void>} */
const news = { connections() {}, events() {}, logs() {} }

/**
 * Called by Rust with all that has come: four words for each letter (number, kind, count, texts), and the texts in a row.
 * Nothing in here runs a user's code: that waits for the microtasks after it.
 * @param {number} count @param {boolean} more @param {...any} texts of a fetch, an ArrayBuffer too
 */
function deliver(count, more, ...texts) {
  let text = 0
  for (let letter = 0; letter < count; letter++) {
    const at = letter * WORDS
    const id = words[at]
    switch (words[at + 1]) {
      case ANSWER:
        ended(id)?.answered(texts[text], texts[text + 1])
        break
      case FAILURE:
        ended(id)?.failed(texts[text])
        break
      case ABORTED:
        ended(id)?.aborted()
        break
      case PIECES:
        parties[id]?.pieces(texts[text], words[at + 2])
        break
      case PIECE:
        parties[id]?.piece?.(texts[text], words[at + 2])
        break
      case HEAD:
        parties[id]?.headed?.(words[at + 2], texts[text])
        break
      case BYTES:
        parties[id]?.bytes?.(texts[text])
        break
      case ASK:
        parties[id]?.ask?.()
        break
      case FETCHED: {
        // With its head where that was not told, and its body where that is taken whole.
        const status = words[at + 2]
        const first = status === 0 ? text : text + 1
        const body = first < text + words[at + 3] ? texts[first] : undefined
        ended(id)?.fetched?.(status, status === 0 ? undefined : texts[text], body)
        break
      }
      case TOLD:
        told(parties[id], texts[text])
        break
      case ASK_HOOK:
        askHook(parties[id], words[at + 2], texts[text])
        break
      case ASK_KEY:
        questions.key(id, words[at + 2])
        break
      case ASK_MATCH:
        questions.match(id, words[at + 2], texts[text])
        break
      case CONNECTIONS:
        news.connections(id, texts[text], words[at + 2])
        break
      case EVENTS:
        news.events(id, texts[text], words[at + 2])
        break
      case LOGS:
        news.logs(id, texts[text], words[at + 2])
        break
    }
    text += words[at + 3]
  }
  // A turn has its limit: what is left comes after others had theirs.
  if (more) setImmediate(drain)
}

/** Rust tells of a call that is watched. @param {Party | null} party @param {string} text */
function told(party, text) {
  if (party?.told !== undefined) party.told(text)
  else party?.witness?.told(text)
}

/** @param {Party | null} party @param {number} question @param {string} text */
function askHook(party, question, text) {
  // Nobody waits for the answer of a call that has ended here, but its question is to go.
  if (party?.witness) party.witness.asked(question, text)
  else border.answerHook(question, undefined, 'the call has ended')
}

function drain() {
  border.drain(/** @type {any} */ (deliver))
}

/** @param {number} id */
function ended(id) {
  const party = parties[id]
  parties[id] = null
  free.push(id)
  return party
}

/** The runtime's threads; 0 for its default. Without effect in further workers: the runtime is the process's. */
const threads = Number.parseInt(process.env.TRUNKLINE_THREADS ?? '', 10)
/** Whether the event loop is libuv's: Bun and Deno have functions of its names, and no loop of its. */
const { uv, bun, deno } = process.versions
const isNode = uv !== undefined && bun === undefined && deno === undefined
const border = new native.Border(
  /** @type {any} */ (deliver),
  words,
  threads > 0 && threads <= 64 ? threads : 0,
  isNode,
)

/**
 * A number for a party. @param {Party} party
 */
function enter(party) {
  const id = free.length > 0 ? /** @type {number} */ (free.pop()) : parties.length
  parties[id] = party
  return id
}

/** Takes a number back that was never started. @param {number} id */
function leave(id) {
  parties[id] = null
  free.push(id)
}

/** All parties of a client. @param {object} client */
function partiesOf(client) {
  return parties.filter((party) => party !== null && party.client === client)
}

module.exports = { native, border, enter, leave, partiesOf, questions, news }

// A job from a queue of your own (SQS, Kafka, a database), by `line.batch`: a message is taken, answered, its answer stored under its id, and only then
// acknowledged. Whatever ends the process in between, the message comes again, and storing it once more changes nothing.

import { setTimeout as sleep } from 'node:timers/promises'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start({ latency: 30 })
const line = new Trunkline(upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {})

/** The four methods that such a queue needs. This one is in memory; of SQS they are ReceiveMessage, ChangeMessageVisibility, DeleteMessage and a visibility of seconds: what fails while a circuit is open would else come again at once, and again. */
class Queue {
  #visible = []
  #taken = new Map()
  released = 0

  put = (message) => this.#visible.push(message)
  /** The next messages, hidden from others for a while; none where there is nothing left. */
  receive = async (most) => {
    const messages = this.#visible.splice(0, most)
    for (const message of messages) this.#taken.set(message.id, { message, until: Date.now() + 30_000 })
    return messages
  }
  /** They stay hidden: a call may take long. */
  extend = async (ids) => {
    for (const id of ids) this.#taken.get(id).until = Date.now() + 30_000
  }
  /** It is done with. */
  ack = async (id) => this.#taken.delete(id)
  /** It is anybody's again. */
  release = async (id) => {
    this.released++
    this.put(this.#taken.get(id).message)
    this.#taken.delete(id)
  }
}

/** Answers what is in a queue; `store` keeps an answer under its id, once. */
async function work(queue, store, { concurrency = 8 } = {}) {
  const inHand = new Set()
  async function* requests() {
    for (;;) {
      const messages = await queue.receive(concurrency)
      // What is in hand may still come back.
      if (messages.length === 0 && inHand.size === 0) return
      if (messages.length === 0) await sleep(50)
      for (const { id, request } of messages) {
        inHand.add(id)
        yield { customId: id, ...request }
      }
    }
  }
  const beat = setInterval(() => queue.extend([...inHand]), 10_000)
  try {
    for await (const { customId, status, value, reason } of line.batch(requests(), { concurrency, retry: false })) {
      const passes = status === 'rejected' && reason.retryable
      if (!passes) await store(customId, status === 'fulfilled' ? value : { error: reason.message })
      await (passes ? queue.release(customId) : queue.ack(customId))
      inHand.delete(customId)
    }
  } finally {
    clearInterval(beat)
    for (const id of inHand) await queue.release(id)
  }
}

const queue = new Queue()
for (let n = 0; n < 30; n++) {
  const messages = [{ role: 'user', content: `What is ${n} squared?` }]
  queue.put({ id: `square-${n}`, request: { model: 'gpt-4o-mini', messages, max_tokens: 10 } })
}
// Some fail in a way that passes, and come again.
upstream?.fault({ kind: 'status', status: 503 }, { times: 3 })

const answers = new Map()
await work(queue, async (id, answer) => answers.set(id, answer))
console.log(`${answers.size} answers, ${(await queue.receive(1)).length} messages left, ${queue.released} came again`)

await line.close()
await upstream?.close()

// As much of EventSource as the tests of its format ask for, over our decoder: `events` reads, and here it is asked again when it has ended.

/** A server's word for it, `retry`, is not handed on by ours. */
const RECONNECT = 10

/** @param {any} line a client whose baseURL is the origin of the tests @param {URL} location */
export function eventSourceOf(line, location) {
  return class EventSource extends EventTarget {
    CONNECTING = 0
    OPEN = 1
    CLOSED = 2
    readyState = 0
    onopen = null
    onmessage = null
    onerror = null
    #controller = new AbortController()
    #lastId = ''

    constructor(url) {
      super()
      this.url = new URL(url, location).href
      for (const name of ['open', 'message', 'error']) {
        this.addEventListener(name, (event) => this[`on${name}`]?.call(this, event))
      }
      this.#run().catch(() => {
        if (this.readyState === this.CLOSED) return
        this.readyState = this.CLOSED
        this.dispatchEvent(new Event('error'))
      })
    }

    async #run() {
      const { pathname, search } = new URL(this.url)
      for (;;) {
        const headers = this.#lastId === '' ? {} : { 'last-event-id': Buffer.from(this.#lastId).toString('latin1') }
        const stream = line.events(pathname + search, {}, { headers, signal: this.#controller.signal })
        let [isOpen, hasId] = [false, false]
        for await (const { event, raw, id } of stream) {
          if (!isOpen) this.#opened()
          isOpen = true
          // Until this answer has had one, that of the last counts.
          hasId ||= id !== null
          if (hasId) this.#lastId = id ?? ''
          this.dispatchEvent(new MessageEvent(event ?? 'message', { data: raw, lastEventId: this.#lastId }))
        }
        if (!isOpen) this.#opened()
        if (this.readyState === this.CLOSED) return
        this.readyState = this.CONNECTING
        await new Promise((resolve) => setTimeout(resolve, RECONNECT))
      }
    }

    #opened() {
      this.readyState = this.OPEN
      this.dispatchEvent(new Event('open'))
    }

    close() {
      this.readyState = this.CLOSED
      this.#controller.abort()
    }
  }
}

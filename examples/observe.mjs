// What goes on, seen from four sides: hooks, diagnostics channels, logs and OpenTelemetry.

import { AsyncLocalStorage } from 'node:async_hooks'
import { channel } from 'node:diagnostics_channel'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start()
// The first attempt will fail.
upstream.fault({ kind: 'status', status: 503 }, { times: 1 })

// Whatever is published, and whatever a hook does, is in the context of its call.
const user = new AsyncLocalStorage()

channel('trunkline:request:attemptEnd').subscribe(({ request, attempt }) => {
  console.log(`channel: attempt ${attempt.number} of ${request.id} for ${user.getStore()} came to ${attempt.status}`)
})

const line = new Trunkline({
  baseURL: `${upstream.url}/v1`,
  apiKey: 'sk-test',
  retry: { strategy: 'immediate' },
  hooks: {
    beforeAttempt({ attempt, headers }) {
      headers['x-on-behalf-of'] = user.getStore()
      console.log(`hook: attempt ${attempt} goes out for ${user.getStore()}`)
    },
    afterCall: (meta, error) => console.log(`hook: ${meta.attempts.length} attempts, ${error?.code ?? 'good'}`),
  },
  // Any logger: pino, winston, the console.
  logger: Object.fromEntries(
    ['error', 'warn', 'info', 'debug'].map((level) => [
      level,
      ({ target }, message) => console.log(`log: ${level} ${target}: ${message}`),
    ]),
  ),
  logLevel: 'debug',
})

const question = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'What is a trunk line?' }] }
await user.run('ada', () => line.chat(question))
console.log(`upstream: the header said ${upstream.requests.at(-1).headers['x-on-behalf-of']}`)

// OpenTelemetry, where `@opentelemetry/api` is installed: `instrument(line)` of 'trunkline/otel' makes each call a span.

await line.close()
await upstream.close()

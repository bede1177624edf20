// Two providers, one of them down: calls go on at the other, and the event `failover` says so.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const first = await MockUpstream.start()
const second = await MockUpstream.start()

const line = new Trunkline({
  providers: {
    main: { baseURL: `${first.url}/v1`, apiKey: 'sk-main' },
    // It speaks another protocol. The code below does not see that.
    spare: { baseURL: second.url, apiKey: 'sk-spare', protocol: 'anthropic' },
  },
  routes: {
    // In this order, each with the name that its provider has for the model.
    smart: [
      { provider: 'main', model: 'gpt-4o' },
      { provider: 'spare', model: 'claude-sonnet-4-5' },
    ],
  },
  retry: { maxRetries: 1, baseDelay: 20 },
})
line.on('failover', ({ from, to, reason }) => console.log(`failover: from ${from} to ${to}, ${reason}`))
line.on('circuit', ({ provider, model, state }) => console.log(`circuit: ${provider}/${model} is ${state}`))

const request = { model: 'smart', messages: [{ role: 'user', content: 'What is a trunk line?' }] }
const who = ({ provider, model, attempts }) => `${provider}/${model}, ${attempts.length} attempts`

console.log('up:', who((await line.chat(request).withMeta()).meta))

// The first one goes down.
first.fault({ kind: 'status', status: 503 }, { times: 1000 })
const stream = line.stream(request)
await stream.final()
console.log('down, a stream:', who(await stream.meta))

// After five failures in a row its circuit opens, and it is asked last for a while.
for (let call = 0; call < 3; call++) await line.chat(request)
console.log('down, with an open circuit:', who((await line.chat(request).withMeta()).meta))

const { failedOver, succeeded } = line.metrics().requests
console.log(`${succeeded} calls answered, ${failedOver} times by the second provider after the first had failed`)

await line.close()
await first.close()
await second.close()

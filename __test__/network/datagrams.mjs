// Sends datagrams to the far side, which answers each, and counts; as JSON. What is under way is kept small: no buffer may overflow, since
// losses are counted.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const BATCHES = 100
const BATCH = 40

const server = createSocket('udp4').bind(0, '127.0.0.1')
const client = createSocket('udp4')
await once(server, 'listening')
const { port } = server.address()

const counts = { sent: 0, arrived: 0, answered: 0 }
server.on('message', (text, { port, address }) => {
  counts.arrived++
  server.send(text, port, address)
})
let marks = 0
let marked = () => {}
client.on('message', (text) => {
  counts.answered++
  if (String(text) === `mark ${marks}`) marked()
})

const send = (text) => {
  counts.sent++
  return new Promise((resolve) => client.send(text, port, 'localhost', resolve))
}

/** Nothing overtakes it: when its answer is here, all before it have arrived, or never will. */
async function mark() {
  marks++
  const answered = new Promise((resolve) => {
    marked = resolve
  })
  const again = setInterval(() => send(`mark ${marks}`), 20)
  await send(`mark ${marks}`)
  await answered
  clearInterval(again)
}

for (let batch = 0; batch < BATCHES; batch++) {
  for (let number = 0; number < BATCH; number++) await send(`datagram ${batch}.${number}`)
  await mark()
}
console.log(JSON.stringify(counts))
// What is still under way must not be counted on one side alone.
process.exit()

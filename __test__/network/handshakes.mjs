// How long handshakes take to the far side, and to the near one; in ms, as JSON.

import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start({ tls: true })
const port = Number(new URL(upstream.url).port)

async function took(socket, event) {
  const began = performance.now()
  await once(socket, event)
  socket.destroy()
  return performance.now() - began
}

const tcp = await took(connect({ port, host: 'localhost' }), 'connect')
const tls = await took(connectTls({ port, host: 'localhost', ca: upstream.ca }), 'secureConnect')
await took(connect({ port, host: '127.0.0.1' }), 'connect')
const nobody = connect({ port: 1, host: 'localhost' })
const refused = await new Promise((resolve) => nobody.on('error', ({ code }) => resolve(code)))
await upstream.close()
console.log(JSON.stringify({ tcp, tls, refused }))

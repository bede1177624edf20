// Figures for Prometheus: `prometheus()` behind a server, and the same beside a program's own by `registerMetrics`.

import { once } from 'node:events'
import { createServer } from 'node:http'
import prom from 'prom-client'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start()
const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'sk-example', pricing: { fast: 'gpt-4o-mini' } })

const TYPES = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
}

// Prometheus says what it can read. Whoever uses prom-client serves `register.metrics()` instead.
const server = createServer((request, response) => {
  const format = /openmetrics/.test(request.headers.accept) ? 'openmetrics' : 'prometheus'
  response.setHeader('content-type', TYPES[format])
  response.end(line.prometheus({ format, labels: { service: 'example' } }))
}).listen(0, '127.0.0.1')
await once(server, 'listening')

for (let n = 0; n < 3; n++) {
  await line.chat({ model: 'fast', messages: [{ role: 'user', content: `What is ${n} plus ${n}?` }] })
}

const answer = await fetch(`http://127.0.0.1:${server.address().port}/metrics`)
const text = await answer.text()
for (const name of ['requests_total', 'tokens_total', 'cost_dollars_total', 'pool_connections_reused_total']) {
  console.log(text.split('\n').find((row) => row.startsWith(`trunkline_${name}{`)))
}

const register = new prom.Registry()
new prom.Counter({ name: 'visitors_total', help: 'Our own.', registers: [register] }).inc()
const remove = line.registerMetrics(register)
const both = (await register.metrics()).match(/^(visitors_total|trunkline_requests_total).*$/gm)
console.log(`in one registry:\n${both.join('\n')}`)
remove()

server.close()
await line.close()
await upstream.close()

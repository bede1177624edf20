// The upstream's process: stand-ins of trunkline/testing, one for each client, so that its sockets are its own.

import { MockUpstream } from 'trunkline/testing'
import { serve } from '../child.mjs'

const upstreams = new Map()

serve({
  /** `wait`: ms until each answer, to the tenth. `roundTrip`: where the network has none of its own. */
  async start({ wait, roundTrip }) {
    const upstream = await MockUpstream.start({ tls: true, record: false, roundTrip })
    // The option `latency` varies by a tenth, which would be more than what clients differ by.
    upstream.fault({ kind: 'slow', firstToken: wait }, { times: 2 ** 32 - 1 })
    const { port } = new URL(upstream.url)
    upstreams.set(port, upstream)
    return { port, ca: upstream.ca }
  },
  connections: (port) => upstreams.get(port).connections,
  async stop(port) {
    await upstreams.get(port).close()
    upstreams.delete(port)
  },
})

// The upstream's process of the soak: a stand-in for each way that a client may speak, with faults as the parent asks for them.

import { MockUpstream } from 'trunkline/testing'
import { serve } from '../child.mjs'

const upstreams = []

serve({
  /** Where each is, and the certificate to trust. */
  async start(all, reply) {
    for (const options of all) {
      const upstream = await MockUpstream.start({ record: false, ...options })
      upstream.reply({}, reply)
      upstreams.push(upstream)
    }
    return upstreams.map(({ url, ca }) => ({ url, ca }))
  },
  fault: (which, fault, options) => void upstreams[which].fault(fault, options),
  /** Sockets that are open. */
  open: () => upstreams.reduce((sum, { connections }) => sum + connections.open, 0),
})

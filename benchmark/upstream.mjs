// The upstream's process: stand-ins of trunkline/testing, started and asked by the parent.

import { MockUpstream } from 'trunkline/testing'
import { serve } from './child.mjs'

const upstreams = []

serve({
  /** `replies`: pairs of a match and an answer. */
  async start(options, replies = []) {
    const upstream = await MockUpstream.start(options)
    for (const [match, answer] of replies) upstream.reply(match, answer)
    const { url, ca } = upstream
    return { id: upstreams.push(upstream) - 1, url, ca }
  },
  connections: (id) => upstreams[id].connections,
  fault: (id, fault, options) => void upstreams[id].fault(fault, options),
  /** Processor time of the process so far, in µs. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
})

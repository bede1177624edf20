// The upstream's process: as many stand-ins as there are origins. Told what to do by the parent.

import { MockUpstream } from 'trunkline/testing'
import { serve } from '../child.mjs'

let upstreams = []

serve({
  /** `answer`: bytes of what a chat says. `events`: of a stream. Ends those of the last point. */
  async start({ options = {}, origins = 1, answer, events }) {
    await Promise.all(upstreams.map((upstream) => upstream.close()))
    const starts = Array.from({ length: origins }, () => MockUpstream.start({ record: false, ...options }))
    upstreams = await Promise.all(starts)
    for (const upstream of upstreams) {
      if (answer !== undefined) upstream.reply({}, { content: 'a'.repeat(answer) })
      if (events !== undefined) upstream.reply({}, { content: 'a word '.repeat(events), chunks: events })
    }
    return upstreams.map(({ url }) => url)
  },
  fault: (fault, options) => void upstreams[0].fault(fault, options),
})

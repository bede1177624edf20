// A function of AWS Lambda. The client is made once, beside the handler, and is frozen with everything else between two calls: connections that their servers have
// closed meanwhile are found closed, and new ones take their place.

import { Trunkline } from 'trunkline'

const line = new Trunkline()

export async function handler(event, context) {
  // To answer while there is still time to, rather than be cut off.
  const total = Math.max(1, context.getRemainingTimeInMillis() - 500)
  const request = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: event.question }] }
  const answer = await line.chat(request, { timeouts: { total } })
  return answer.choices[0].message.content
}

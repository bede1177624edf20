// Short requests, and files of them.

import { once } from 'node:events'
import { createWriteStream } from 'node:fs'

export function request(n) {
  return { model: 'short', max_tokens: 4, messages: [{ role: 'user', content: `Number ${n}` }] }
}

/** A file of requests, and a line that is none at its end if it is to be refused. */
export async function write(file, lines, isBad = false) {
  const stream = createWriteStream(file)
  let text = ''
  for (let n = 0; n < lines; n++) {
    const line = { custom_id: `request-${n}`, method: 'POST', url: '/v1/chat/completions', body: request(n) }
    text += `${JSON.stringify(line)}\n`
    if (text.length > 1 << 20 || n === lines - 1) {
      if (!stream.write(text)) await once(stream, 'drain')
      text = ''
    }
  }
  stream.end(isBad ? 'no request\n' : '')
  await once(stream, 'close')
}

// The demo against a real provider: a few calls, as they cost money.

import { Trunkline } from 'trunkline'
import { number as figure } from '../../benchmark/report.mjs'

const MODEL = process.env.TRUNKLINE_DEMO_MODEL ?? 'gpt-4o-mini'

const ask = (text) => ({ model: MODEL, messages: [{ role: 'user', content: text }], max_tokens: 60 })

export async function run() {
  console.log(`Against the real upstream of your environment, with ${MODEL}: 3 chats and 1 stream.\n`)
  const line = new Trunkline()
  let right = true
  try {
    for (const country of ['France', 'Japan', 'Kenya']) {
      const { data, meta } = await line.chat(ask(`The capital of ${country}, in one word?`)).withMeta()
      const { content } = data.choices[0].message
      const { protocol, reused } = meta.connection
      const how = `${protocol}, ${reused ? 'connection reused' : 'new connection'}, ${figure(meta.timings.total)} ms`
      console.log(`  ${country}: ${content} (${how})`)
      right &&= content.length > 0
    }
    process.stdout.write('  a stream: ')
    let text = ''
    for await (const piece of line.stream(ask('Say in one sentence what a trunk line is.')).text()) {
      process.stdout.write(piece)
      text += piece
    }
    right &&= text.length > 0
    const { pool } = line.metrics()
    console.log(`\n\n${pool.opened} connections opened, ${figure(pool.handshakeTimeSaved)} ms of handshakes saved.`)
  } finally {
    await line.close()
  }
  return right
}

// A stream breaks while its reader is in the middle of it. What becomes of it is up to `recover`.

import { StreamInterruptedError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const first = await MockUpstream.start({ tokensPerSecond: 50 })
const second = await MockUpstream.start()
const answer =
  'one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen'
first.reply({}, answer)
second.reply({}, answer)

const line = new Trunkline({
  providers: { first: { baseURL: `${first.url}/v1` }, second: { baseURL: `${second.url}/v1` } },
  routes: { count: [{ provider: 'first' }, { provider: 'second' }] },
  retry: { maxRetries: 0 },
})
const request = { model: 'count', messages: [{ role: 'user', content: 'Count to seventeen.' }] }
const breaks = () => first.fault({ kind: 'cut', afterTokens: 15 })

// By default a reader is told, and keeps what came: half an answer is never passed off as a whole one.
breaks()
try {
  for await (const _ of line.stream(request));
} catch (error) {
  if (!(error instanceof StreamInterruptedError)) throw error
  const { content } = error.partial.choices[0].message
  console.log(`none: interrupted after "… ${content.split(' ').slice(-3).join(' ')}"`)
}

// With 'restart' it begins anew, here at the second provider. The reader's side of it is the line with `trunkline`.
breaks()
let shown = ''
for await (const chunk of line.stream(request, { recover: 'restart' })) {
  if (chunk.trunkline?.restart) {
    console.log(`restart: "${shown.slice(0, 13)} …" is void`)
    shown = ''
  }
  shown += chunk.choices[0]?.delta.content ?? ''
}
console.log(`restart: the reader ends with the answer once: ${shown === answer}`)

// Who waits for the whole needs no signal: nobody has seen what broke.
breaks()
console.log(`final(): the answer is whole: ${(await line.stream(request).finalText()) === answer}`)

await line.close()
await first.close()
await second.close()

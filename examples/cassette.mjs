// What a provider answers is kept in a file, and answers in its place: the second run asks nobody.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Trunkline } from 'trunkline'
import { cassette, MockUpstream } from 'trunkline/testing'

const folder = mkdtempSync(join(tmpdir(), 'trunkline-'))
const path = join(folder, 'greeting.json')
const request = (content) => ({ model: 'gpt-4o-mini', messages: [{ role: 'user', content }] })

// In the place of a provider, for a run that costs nothing.
const upstream = await MockUpstream.start()
upstream
  .reply({}, { content: 'Hello, Ada!', chunks: 2 })
  .fault({ kind: 'status', status: 429, headers: { 'retry-after': '1' } })

async function run(mode) {
  const tape = cassette(path, { mode })
  const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'sk-0123456789', cassette: tape })
  const { data, meta } = await line.chat(request('Greet Ada')).withMeta()
  const pieces = []
  for await (const piece of line.stream(request('Greet Ada')).text()) pieces.push(piece)
  console.log(`${mode}: ${data.choices[0].message.content} at attempt ${meta.attempts.length}, ${pieces.join('')}`)
  if (mode === 'replay') {
    const error = await line.chat(request('Greet Bob')).catch((error) => error)
    console.log(`${error.code}: ${error.message.replace(path, 'greeting.json')}`)
  }
  console.log(`${mode}: ${line.metrics().pool.opened} connections opened`)
  await line.close()
}

await run('record')
await upstream.close()
const text = readFileSync(path, 'utf8')
console.log(`the key is in the file: ${text.includes('sk-0123456789')}`)
const { interactions } = JSON.parse(text)
console.log(`in the file: ${interactions.map(({ response }) => response.status).join(', ')}`)
await run('replay')
rmSync(folder, { recursive: true })

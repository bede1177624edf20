import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

const upstream = await testing.MockUpstream.start()
after(() => upstream.close())

for (const close of [true, false]) {
  test(`close: ${close}`, async () => assert.equal(await use(all, testing, { close }), 'chat, stream, fetch'))
}
test('a client that nobody closes', async () => {
  const line = new all.Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
  assert.equal((await line.chat({ model: 'm', messages: [] })).object, 'chat.completion')
})

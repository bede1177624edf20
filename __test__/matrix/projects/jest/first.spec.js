const all = require('trunkline')
const testing = require('trunkline/testing')
const { use } = require('./use.cjs')

test('the package does what it does elsewhere', async () => {
  expect(await use(all, testing)).toBe('chat, stream, fetch')
})

test('a failed call rejects with an error of the package', async () => {
  const upstream = await testing.MockUpstream.start()
  upstream.fault({ kind: 'status', status: 400 })
  const line = new all.Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
  await expect(line.chat({ model: 'm', messages: [] })).rejects.toThrow(all.BadRequestError)
})

// A file of its own: Jest reads the package once more for it. Nothing is closed.
const all = require('trunkline')
const testing = require('trunkline/testing')
const { use } = require('./use.cjs')

test('what is left open keeps Jest from nothing', async () => {
  expect(await use(all, testing, { close: false })).toBe('chat, stream, fetch')
})

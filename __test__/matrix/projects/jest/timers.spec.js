jest.useFakeTimers()

const all = require('trunkline')
const testing = require('trunkline/testing')
const { use } = require('./use.cjs')

test('timers that stand still hold nothing up', async () => {
  expect(await use(all, testing)).toBe('chat, stream, fetch')
})

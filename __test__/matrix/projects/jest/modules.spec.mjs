import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

test('the package does what it does elsewhere', async () => {
  expect(await use(all, testing)).toBe('chat, stream, fetch')
})

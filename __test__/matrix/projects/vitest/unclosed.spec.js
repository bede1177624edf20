// Nothing is closed.
import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { expect, test } from 'vitest'
import { use } from './use.cjs'

test('what is left open keeps Vitest from nothing', async () => {
  expect(await use(all, testing, { close: false })).toBe('chat, stream, fetch')
})

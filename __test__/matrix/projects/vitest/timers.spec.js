import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { afterAll, expect, test, vi } from 'vitest'
import { use } from './use.cjs'

vi.useFakeTimers()
afterAll(() => vi.useRealTimers())

test('timers that stand still hold nothing up', async () => {
  expect(await use(all, testing)).toBe('chat, stream, fetch')
})

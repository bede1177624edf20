import assert from 'node:assert/strict'
import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

describe('the package, imported', () => {
  it('does what it does elsewhere', async () => {
    assert.equal(await use(all, testing), 'chat, stream, fetch')
  })
})

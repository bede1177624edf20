const assert = require('node:assert/strict')
const all = require('trunkline')
const testing = require('trunkline/testing')
const { use } = require('./use.cjs')

describe('the package, required', () => {
  it('does what it does elsewhere', async () => {
    assert.equal(await use(all, testing), 'chat, stream, fetch')
  })

  it('keeps Mocha from nothing by what is left open', async () => {
    assert.equal(await use(all, testing, { close: false }), 'chat, stream, fetch')
  })
})

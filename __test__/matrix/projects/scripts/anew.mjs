// The package is read anew and dropped, as a test runner does for each file, and what was read before is collected.
import { createRequire } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const collect = globalThis.Bun ? () => Bun.gc(true) : collector()
function collector() {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc')
}

async function used() {
  // Each remembers what it has read.
  const require = createRequire(import.meta.url)
  for (const file of Object.keys(require.cache)) if (!file.endsWith('native.js')) delete require.cache[file]
  const { use } = require('./use.cjs')
  return use(require('trunkline'), require('trunkline/testing'))
}

const said = new Set()
for (let n = 0; n < 4; n++) {
  said.add(await used())
  collect()
  await new Promise((resolve) => setTimeout(resolve))
}
console.log(...said)

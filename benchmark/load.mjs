// A process that loads packages, one and what goes with it, and says how long that took, in ms: node load.mjs NAME...

import { performance } from 'node:perf_hooks'
import { loaderOf } from './peers.mjs'

const names = process.argv.slice(2)
const loaders = await Promise.all(
  names.map((name) => (name === 'trunkline' ? () => import('trunkline') : loaderOf(name))),
)
const started = performance.now()
for (const load of loaders) await load()
process.stdout.write(String(performance.now() - started))
// Loading is all: whatever a package leaves running is not waited for.
process.exit()

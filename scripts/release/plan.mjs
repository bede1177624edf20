// The builds of a release, for the workflow's matrix: one line, `targets=[…]`.

import { targets } from './targets.mjs'

console.log(`targets=${JSON.stringify(targets.map(({ name, triple, runner }) => ({ name, triple, runner })))}`)

// Shows what the package does. What it takes is told in examples/demo/main.mjs.

import { setUp } from './setup.mjs'

setUp()
await import('../examples/demo/main.mjs')

// Measures this package beside its peers. What it takes is told in benchmark/main.mjs.

import { setUp } from './setup.mjs'

setUp()
await import('../benchmark/main.mjs')

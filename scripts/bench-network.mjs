// Measures this package beside its peers in a wide area. What it takes is told in benchmark/network/main.mjs.

import { setUp } from './setup.mjs'

setUp()
await import('../benchmark/network/main.mjs')

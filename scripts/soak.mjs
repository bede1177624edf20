// Whether anything is left of a million calls. What it takes is told in benchmark/soak/main.mjs.

import { setUp } from './setup.mjs'

setUp()
await import('../benchmark/soak/main.mjs')

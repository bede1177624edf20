// Measures how costs grow. What it takes is told in benchmark/scale/main.mjs.

import { setUp } from './setup.mjs'

setUp()
await import('../benchmark/scale/main.mjs')

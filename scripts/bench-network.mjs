// Measures this package beside its peers in a wide area. What it takes is told in benchmark/network/main.mjs.

import { setUpPeers } from '../benchmark/peers.mjs'
import { setUp } from './setup.mjs'

setUp()
// Before there is a namespace, from which no registry is to be reached. A smoke run measures those that are there.
if (!process.argv.includes('--smoke')) setUpPeers()
await import('../benchmark/network/main.mjs')

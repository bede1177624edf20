// npm run demo [-- --small]: the main job of the package, and what a pool saves.
//
// It runs against a stand-in upstream that is as far away as a server on another continent: TLS, 40 ms for each round
// trip. With OPENAI_API_KEY and OPENAI_BASE_URL (or TRUNKLINE_BASE_URL) set it makes a few calls to the real thing instead.

import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { small: { type: 'boolean', default: false } } })
const real = process.env.OPENAI_API_KEY && (process.env.OPENAI_BASE_URL || process.env.TRUNKLINE_BASE_URL)
const { run } = real ? await import('./real.mjs') : await import('./standin.mjs')
const right = await run(values)
if (!right) process.exitCode = 1

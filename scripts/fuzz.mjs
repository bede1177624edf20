// The decoders with many damaged and nearly right inputs: npm run test:fuzz -- [cases of each kind, 100,000 without]
//
// What it finds becomes a golden file, or a test with a name. `fuzz/` searches by coverage, see CONTRIBUTING.md.

import { run } from './run.mjs'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
const cases = process.argv[2] ?? '100000'
if (!/^\d+$/.test(cases)) throw new Error(`cases: must be a number, got ${cases}`)
// Optimized, but with the checks of debug builds.
const env = { PROPTEST_CASES: cases, CARGO_PROFILE_TEST_OPT_LEVEL: '2' }
run('cargo', ['test', '--no-default-features', '--test', 'fuzz'], { env })

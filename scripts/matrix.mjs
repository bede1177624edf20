// The packed package in every runtime and under every tool: `npm run test:matrix`, with `-- --write` to write the tables of
// docs/runtimes.md anew.

import { join } from 'node:path'
import { run } from './run.mjs'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
const MATRIX = process.argv.includes('--write') ? 'write' : 'all'
run(process.execPath, ['--test', '--test-reporter=spec', join('__test__', 'matrix.test.mjs')], { env: { MATRIX } })

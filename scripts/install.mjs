// The packages of a release, published to a registry on loopback and installed from it by npm, pnpm and yarn: `npm run test:install`, with `-- --source` also built
// in a fresh clone, which takes as long as a build.

import { join } from 'node:path'
import { run } from './run.mjs'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
const INSTALL = process.argv.includes('--source') ? 'source' : 'all'
run(process.execPath, ['--test', '--test-reporter=spec', join('__test__', 'install.test.mjs')], { env: { INSTALL } })

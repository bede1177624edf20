// Formats everything, in place.

import { join } from 'node:path'
import { run } from './run.mjs'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
run('cargo', ['fmt', '--all'])
run(process.execPath, [join('node_modules', '@biomejs', 'biome', 'bin', 'biome'), 'check', '--write'])

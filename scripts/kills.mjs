// `npm run test:kills`: a job whose process is killed 200 times at random moments, and then comes to its end with every line answered once.
// `npm test` has it with eight kills.

import { rmSync } from 'node:fs'
import { kill } from '../__test__/job/kills.mjs'
import { folder } from '../__test__/job/support.mjs'

const kills = Number(process.argv[2] ?? 200)
const files = folder()
const started = performance.now()
try {
  const { again, repeated, calls } = await kill(files, { kills, lines: kills * 100, tell: console.log })
  const minutes = ((performance.now() - started) / 60_000).toFixed(1)
  console.log(`${kills} kills in ${minutes} min: ${kills * 100} lines, each answered once by ${calls} calls.`)
  console.log(`${again} calls were made twice; it was told that ${repeated} may have been.`)
} finally {
  rmSync(files.path, { recursive: true, force: true })
}

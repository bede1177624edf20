// A process that has used the package starts another that uses it.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

const said = await use(all, testing)
if (process.argv[2] === 'child') process.send(said)
else {
  const child = fork(fileURLToPath(import.meta.url), ['child'])
  const [[words], [code]] = await Promise.all([once(child, 'message'), once(child, 'exit')])
  console.log(`${said}; child: ${words}, ${code}`)
}

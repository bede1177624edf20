// Every test: of Rust below the border, of JavaScript above it, and of the typings. `npm test -- rust`, `js` or `types`
// runs one kind.

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { watch } from './run.mjs'
import { root, setUp } from './setup.mjs'

setUp()
process.chdir(root)
// Upstreams of tests are on loopback, where no proxy of this machine's leads to.
for (const name of Object.keys(process.env)) if (/^(https?|all|no)_proxy$/i.test(name)) delete process.env[name]

const tests = readdirSync(join(root, '__test__'), { recursive: true }).filter(
  (name) => name.endsWith('.test.mjs') && !name.includes('node_modules'),
)
const kinds = {
  rust: {
    command: ['cargo', ['test', '--workspace', '--no-default-features', '--no-fail-fast', '--quiet']],
    // "test result: ok. 12 passed; 0 failed; …", once for each binary. The harness knows no test that skips itself when it runs:
    // such a test says so by a line, and passes.
    count: (output) => {
      const [passed, failed, ignored] = sums(output, /test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/g)
      const skipped = output.match(/^SKIPPED /gm)?.length ?? 0
      return [passed - skipped, failed, ignored + skipped]
    },
  },
  js: {
    command: [
      process.execPath,
      ['--test', '--test-reporter=spec', '--expose-gc', ...tests.map((name) => join('__test__', name))],
    ],
    count: (output) =>
      ['pass', 'fail', 'skipped'].map((word) => sums(output, new RegExp(`^ℹ ${word} (\\d+)$`, 'gm'))[0]),
  },
  types: {
    command: [process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', '__test__/types']],
    count: (_output, status) => (status === 0 ? [1, 0, 0] : [0, 1, 0]),
  },
}

const wanted = process.argv.slice(2)
const total = { passed: 0, failed: 0, skipped: 0 }
for (const [kind, { command, count }] of Object.entries(kinds)) {
  if (wanted.length > 0 && !wanted.includes(kind)) continue
  console.log(`\n── ${kind}`)
  const { status, output } = await watch(...command)
  let [passed, failed, skipped] = count(output, status)
  // A run that broke off counts, even where it could not say what.
  if (status !== 0 && failed === 0) failed = 1
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
}
if (total.skipped > 0) console.log(`\n!! ${total.skipped} SKIPPED: something that they need is missing`)
const forbidden = process.env.CI && total.skipped > 0
console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`)
process.exitCode = total.failed > 0 || forbidden ? 1 : 0

function sums(output, pattern) {
  const sum = [0, 0, 0]
  for (const match of output.matchAll(pattern)) {
    for (const [at, number] of match.slice(1).entries()) sum[at] += Number(number)
  }
  return sum
}

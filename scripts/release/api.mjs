// The public API against that of the last release: `npm run api` tells what is new and what breaks, and fails on a break that CHANGELOG.md does not name under
// "Breaking". `-- --write` makes what there is now what is held against from now on: at a release, and never to silence it.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { differences, unannounced } from './api-diff.mjs'
import { lineOf, reportOf } from './api-report.mjs'
import { sectionOf, underHeading } from './changelog.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
export const typings = ['index.d.ts', 'testing.d.ts', 'otel.d.ts']
const released = join(root, 'scripts/release/api.json')

/** What there is now. */
export function apiHere() {
  return reportOf(
    join(root, '__test__/types/tsconfig.json'),
    typings.map((file) => join(root, file)),
  )
}

/** Of the last release. The file is for people who read a change of it, too: a line for each name. */
export function apiReleased() {
  return JSON.parse(readFileSync(released, 'utf8'))
}

function write(report) {
  const files = Object.entries(report).map(([file, entries]) => {
    const lines = entries.map((entry) => JSON.stringify(entry))
    return `${JSON.stringify(file)}: [\n${lines.join(',\n')}\n]`
  })
  writeFileSync(released, `{\n${files.join(',\n')}\n}\n`)
}

/** What is new, what breaks, and what of that is not announced. */
export function comparison(
  before = apiReleased(),
  after = apiHere(),
  changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8'),
) {
  const { breaks, additions } = differences(before, after)
  const words = underHeading(sectionOf(changelog, 'Unreleased') ?? '', 'Breaking')
  return { breaks, additions, silent: unannounced(breaks, words) }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--write')) write(apiHere())
  else if (process.argv.includes('--list')) {
    for (const [file, entries] of Object.entries(apiHere()))
      for (const entry of entries) console.log(`${file}: ${lineOf(entry)}`)
  } else {
    const { breaks, additions, silent } = comparison()
    for (const { file, path, why } of additions) console.log(`+ ${file}: ${path} ${why}`)
    for (const { file, path, why } of breaks) console.log(`! ${file}: ${path} ${why}`)
    console.log(`${additions.length} additions, ${breaks.length} breaks, ${silent.length} of them not announced`)
    if (silent.length > 0) {
      console.error(
        '\nA break is named in CHANGELOG.md, under [Unreleased], "### Breaking", in back quotes, with what users do about it:',
      )
      for (const { path } of silent) console.error(`- \`${path.replace(/[|=].*$/s, '')}\``)
      process.exit(1)
    }
  }
}

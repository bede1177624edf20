// Makes a version ready to be released: `npm run release -- 1.2.0`, or `patch`, `minor`, `major`. It raises the version where it is written, gives CHANGELOG.md's
// unreleased changes the version's heading, and holds the version against what changed: a break needs a major one (below 1.0.0 a minor one), something added a minor
// one. It commits nothing, and says what to do next.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compare, parsed, problemsOfChangelog, sectionOf, underHeading } from './changelog.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))
const KINDS = ['major', 'minor', 'patch']

/** The least step that the unreleased changes ask for. */
export function leastStep(unreleased, current) {
  const has = (...headings) => headings.some((heading) => underHeading(unreleased, heading) !== '')
  // semver.org's rule 4: before 1.0.0 anything may change, and by npm's ranges (^0.1) a minor version is where.
  if (has('Breaking', 'Removed')) return current.numbers[0] === 0 ? 'minor' : 'major'
  return has('Added', 'Changed', 'Deprecated') ? 'minor' : 'patch'
}

/** The version that a word asks for: itself, or a step from the current one. */
export function nextVersion(word, current) {
  if (parsed(word)) return word
  const at = KINDS.indexOf(word)
  if (at < 0) throw new Error(`"${word}" is no semantic version, nor ${KINDS.join(', ')}`)
  // A pre-release becomes the release that it came before.
  if (current.before && at === 2) return current.numbers.join('.')
  return current.numbers.map((number, place) => (place < at ? number : place === at ? number + 1 : 0)).join('.')
}

/**
 * What the files become: by name, their text.
 *
 * @param {Record<'package.json' | 'package-lock.json' | 'Cargo.toml' | 'Cargo.lock' | 'CHANGELOG.md', string>} files
 * @param {string} word @param {string} date as in 2026-01-31
 */
export function prepared(files, word, date) {
  const old = JSON.parse(files['package.json']).version
  const current = parsed(old)
  const version = nextVersion(word, current)
  const next = parsed(version)
  if (compare(next, current) < 0) throw new Error(`${version} is older than ${old}`)
  const changelog = files['CHANGELOG.md']
  const problems = problemsOfChangelog(changelog)
  if (problems.length > 0) throw new Error(`CHANGELOG.md: ${problems.join('; ')}`)
  const unreleased = sectionOf(changelog, 'Unreleased')
  if (!unreleased) throw new Error('CHANGELOG.md has nothing under [Unreleased]: there is nothing to release')
  if (sectionOf(changelog, version)) throw new Error(`CHANGELOG.md has ${version} already`)
  // The first release of all is whatever it says it is.
  const released = /^## \[\d/m.test(changelog)
  const least = leastStep(unreleased, current)
  if (released && compare(next, parsed(nextVersion(least, current))) < 0) {
    throw new Error(`${version} is too small a step from ${old}: by CHANGELOG.md it is a ${least} one`)
  }
  return {
    version,
    'package.json': inPlace(files['package.json'], `"version": "${old}"`, `"version": "${version}"`),
    'package-lock.json': lockOf(files['package-lock.json'], version),
    'Cargo.toml': inPlace(
      files['Cargo.toml'],
      `name = "trunkline"\nversion = "${old}"`,
      `name = "trunkline"\nversion = "${version}"`,
    ),
    'Cargo.lock': inPlace(
      files['Cargo.lock'],
      `name = "trunkline"\nversion = "${old}"`,
      `name = "trunkline"\nversion = "${version}"`,
    ),
    'CHANGELOG.md': changelog.replace('## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${date}\n`),
  }
}

function lockOf(text, version) {
  const lock = JSON.parse(text)
  lock.version = version
  lock.packages[''].version = version
  return `${JSON.stringify(lock, null, 2)}\n`
}

function inPlace(text, from, to) {
  if (text.split(from).length !== 2) throw new Error(`there should be one ${JSON.stringify(from)}`)
  return text.replace(from, to)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = ['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock', 'CHANGELOG.md']
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(root, name), 'utf8')]))
  try {
    const made = prepared(files, process.argv[2] ?? '', new Date().toISOString().slice(0, 10))
    for (const name of names) writeFileSync(join(root, name), made[name])
    console.log(
      `${made.version} is written down. Then:\n` +
        `  npm run api -- --write    # what was announced as broken is what users have from now on\n` +
        `  git commit -am "${made.version}" && git tag -s v${made.version} -m "${made.version}" && git push --follow-tags`,
    )
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}

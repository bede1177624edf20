// Looks at the tarballs of a release as they would be published: `node scripts/release/check.mjs`. Everything that is found wrong is told, and ends it.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { problemsOf } from './addon-file.mjs'
import { sectionOf } from './changelog.mjs'
import { fileOf, packageOf, packages, root, tarballsOf, targets } from './targets.mjs'

/** Scripts that a package manager would run on a user's machine. */
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepare', 'preprepare', 'postprepare', 'dependencies']

/**
 * Unpacked, in bytes: of the package without its addon, and of both, which is what an install weighs. It was meant to be 6 MB; docs/performance.md says
 * why it is not. What is more than this has grown by something that nobody weighed.
 */
export const MOST = { main: 1_000_000, installed: 13_500_000 }

/**
 * What is wrong with the release in a folder. `sizes: false`: for an addon that is not built as it is released.
 *
 * @param {string} folder @param {{ version: string, changelog: string, tag?: string, sizes?: boolean }} expected
 * @returns {string[]}
 */
export function problemsOfRelease(folder, { version, changelog, tag, sizes = true }) {
  const problems = []
  if (tag !== undefined && tag !== `v${version}`) problems.push(`the tag is ${tag}, and the version ${version}`)
  if (sectionOf(changelog, version) === undefined) problems.push(`CHANGELOG.md has no section for ${version}`)
  const weights = new Map()
  for (const { name, file } of tarballsOf(version)) {
    if (!existsSync(join(folder, file))) {
      problems.push(`${file} is missing`)
      continue
    }
    opened(join(folder, file), (content) => {
      const files = filesIn(content)
      weights.set(
        name,
        files.reduce((sum, path) => sum + statSync(join(content, path)).size, 0),
      )
      const target = targets.find((one) => packageOf(one) === name)
      const found = target ? problemsOfPlatform(content, files, target) : problemsOfMain(content, files, version)
      problems.push(...[...problemsOfAny(content, name, version), ...found].map((problem) => `${file}: ${problem}`))
    })
  }
  if (sizes) problems.push(...problemsOfWeight(weights))
  return problems
}

function problemsOfAny(content, name, version) {
  const manifest = manifestIn(content)
  const problems = []
  if (manifest.name !== name) problems.push(`its name is ${manifest.name}`)
  if (manifest.version !== version) problems.push(`its version is ${manifest.version}`)
  if (!manifest.repository) problems.push('it names no repository, without which there is no provenance')
  for (const field of ['dependencies', 'bundleDependencies']) {
    if (Object.keys(manifest[field] ?? {}).length > 0) problems.push(`it has ${field}`)
  }
  for (const script of INSTALL_SCRIPTS) if (manifest.scripts?.[script]) problems.push(`it has a script ${script}`)
  if (!existsSync(join(content, 'LICENSE'))) problems.push('it has no LICENSE')
  return problems
}

function problemsOfPlatform(content, files, target) {
  const { os, cpu, libc, main } = manifestIn(content)
  const problems = problemsOf(join(content, fileOf(target)), target)
  const has = JSON.stringify({ os, cpu, libc, main })
  const should = JSON.stringify({
    os: [target.os],
    cpu: [target.cpu],
    libc: target.libc && [target.libc],
    main: fileOf(target),
  })
  if (has !== should) problems.push(`it is for ${has}, should be for ${should}`)
  const known = [fileOf(target), 'LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.md', 'package.json']
  for (const file of known) if (!files.includes(file)) problems.push(`it has no ${file}`)
  for (const file of files) if (!known.includes(file)) problems.push(`${file} has no business in it`)
  return problems
}

function problemsOfMain(content, files, version) {
  const { optionalDependencies, scripts, exports, bin } = manifestIn(content)
  const problems = files.filter((file) => file.endsWith('.node')).map((file) => `an addon is in it: ${file}`)
  const should = Object.fromEntries(targets.map((target) => [packageOf(target), version]))
  const same = (a, b) => JSON.stringify(Object.entries(a ?? {}).sort()) === JSON.stringify(Object.entries(b).sort())
  if (!same(optionalDependencies, should)) {
    problems.push(
      `its optional dependencies are ${JSON.stringify(optionalDependencies)}, not each platform at ${version}`,
    )
  }
  if (scripts) problems.push('it has scripts, which are of use in a clone alone')
  const named = [...Object.values(exports), ...Object.values(bin)].flatMap((entry) =>
    typeof entry === 'string' ? [entry] : Object.values(entry),
  )
  for (const path of named) {
    if (!files.includes(path.replace(/^\.\//, ''))) problems.push(`it names ${path}, which is not in it`)
  }
  return problems
}

function problemsOfWeight(weights) {
  const problems = []
  const main = weights.get('trunkline') ?? 0
  if (main > MOST.main) problems.push(`trunkline weighs ${main} bytes without its addon, more than ${MOST.main}`)
  for (const target of targets) {
    const sum = main + (weights.get(packageOf(target)) ?? 0)
    if (sum > MOST.installed) problems.push(`on ${target.name} it weighs ${sum} bytes, more than ${MOST.installed}`)
  }
  return problems
}

/** Calls with a folder that has what is in a tarball, for as long as the call takes. */
function opened(tarball, look) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-release-'))
  try {
    execFileSync('tar', ['-xzf', tarball, '-C', folder])
    look(join(folder, 'package'))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function manifestIn(content) {
  return JSON.parse(readFileSync(join(content, 'package.json'), 'utf8'))
}

function filesIn(content) {
  return readdirSync(content, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(content, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
}

/** What this clone is to release. */
export function releaseHere() {
  const read = (file) => readFileSync(join(root, file), 'utf8')
  return { version: JSON.parse(read('package.json')).version, changelog: read('CHANGELOG.md') }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const tag = process.env.GITHUB_REF_TYPE === 'tag' ? process.env.GITHUB_REF_NAME : undefined
  const here = releaseHere()
  // Of a change that is no release yet, the changelog says nothing by version.
  if (process.argv.includes('--unreleased')) here.changelog = `## [${here.version}]\nNot released.\n`
  const problems = problemsOfRelease(packages, { ...here, tag })
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exit(1)
  console.log(`${targets.length + 1} packages are as they should be`)
}

// Publishes the tarballs of a release, the platforms' first, so that nobody can install the package whose addons are not there yet. All are looked at before the
// first is sent. What a registry has already, bit for bit, is passed over: a release that broke off is begun again by the same command.
// `--dry-run` sends nothing; `--registry URL` is for a registry of one's own, which knows no provenance. `NPM_TOKEN` is for the first release alone: the workflow's own
// identity is a trusted publisher only of packages that are there.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compare, parsed } from './changelog.mjs'
import { problemsOfRelease, releaseHere } from './check.mjs'
import { packages, tarballsOf } from './targets.mjs'

/** The first that publishes by the workflow's own identity, without a token. */
const LEAST_NPM = '11.5.1'

/** The words for npm. A version such as 1.0.0-rc.1 must not become what users get by default. */
export function publishArgs(file, { version, registry, dryRun }) {
  return [
    'publish',
    file,
    '--ignore-scripts',
    '--access=public',
    `--tag=${version.includes('-') ? 'next' : 'latest'}`,
    ...(registry ? [`--registry=${registry}`] : ['--provenance']),
    ...(dryRun ? ['--dry-run'] : []),
  ]
}

/**
 * Calls with what npm's environment must have besides for a token to be used, if there is one. Nobody writes it down: the settings name the variable. Without a token
 * they are left alone, since an empty one would keep npm from asking for the workflow's identity.
 *
 * @template T @param {string | undefined} token @param {string | undefined} registry @param {(env: Record<string, string>) => T} use @returns {T}
 */
export function withToken(token, registry = 'https://registry.npmjs.org/', use) {
  if (!token) return use({})
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-publish-'))
  try {
    const settings = join(folder, 'npmrc')
    writeFileSync(settings, `${registry.replace(/^https?:/, '').replace(/\/?$/, '/')}:_authToken=\${NPM_TOKEN}\n`)
    return use({ NPM_TOKEN: token, npm_config_userconfig: settings })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * @param {{ folder: string, version: string, registry?: string, dryRun?: boolean, cwd?: string, env?: Record<string, string>, say?: (line: string) => void }} release
 * `cwd`: where npm finds its settings; `env`: what its environment has besides
 */
export function publish({ folder, version, registry, dryRun = false, cwd, env = {}, say = console.log }) {
  const npm = (args) => spawnSync('npm', args, { cwd, env: { ...process.env, ...env }, encoding: 'utf8' })
  for (const { name, file } of tarballsOf(version)) {
    const path = join(folder, file)
    const there = npm(['view', `${name}@${version}`, 'dist.integrity', ...(registry ? [`--registry=${registry}`] : [])])
    const has = there.status === 0 ? there.stdout.trim() : ''
    if (has === integrityOf(path)) {
      say(`${name}@${version} is there already`)
      continue
    }
    if (has !== '') throw new Error(`${name}@${version} is there already, and is another: raise the version`)
    const { status, stderr, error } = npm(publishArgs(path, { version, registry, dryRun }))
    if (status !== 0) throw new Error(`npm publish ${file}: ${error?.message ?? stderr}`)
    say(`${name}@${version}${dryRun ? ' would be published' : ''}`)
  }
}

function integrityOf(file) {
  return `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2)
  const npm = spawnSync('npm', ['--version'], { encoding: 'utf8' }).stdout.trim()
  if (compare(parsed(npm), parsed(LEAST_NPM)) < 0) {
    console.error(`npm is ${npm}: to publish without a token it must be ${LEAST_NPM} or newer`)
    process.exit(1)
  }
  const here = releaseHere()
  const tag = process.env.GITHUB_REF_TYPE === 'tag' ? process.env.GITHUB_REF_NAME : undefined
  const problems = problemsOfRelease(packages, { ...here, tag })
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exit(1)
  const registry = args.includes('--registry') ? args[args.indexOf('--registry') + 1] : undefined
  const release = { folder: packages, version: here.version, registry, dryRun: args.includes('--dry-run') }
  withToken(process.env.NPM_TOKEN, registry, (env) => publish({ ...release, env }))
}

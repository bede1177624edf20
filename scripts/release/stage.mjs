// Makes the packages of a release from the addons of all platforms: one package for each addon, and the one that users name, which has them as optional
// dependencies. `node scripts/release/stage.mjs` takes the addons from `target/release-artifacts/` and leaves tarballs in `target/release-packages/`: what is
// tested, and published, are these files. A missing addon, or one that is not what it should be, ends it.

import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { problemsOf } from './addon-file.mjs'
import { artifacts, fileOf, packageOf, packages, root, targets } from './targets.mjs'

const cli = join(root, 'node_modules/@napi-rs/cli/dist/cli.js')

/** Goes with each addon, in which other people's code is. */
const LICENCES = 'THIRD-PARTY-LICENSES.md'

/**
 * The tarballs, the platforms' first. `rehearsal`: an addon that is missing is a text in its place, and what there is is not looked at; `check.mjs` finds both, so that
 * nobody can publish it.
 *
 * @param {{ artifacts: string, to: string, rehearsal?: boolean }} where
 * @returns {string[]}
 */
export function stage({ artifacts, to, rehearsal = false }) {
  const problems = targets.flatMap((target) => {
    const file = join(artifacts, fileOf(target))
    if (!existsSync(file)) return [`${fileOf(target)} is missing: ${target.triple} was not built`]
    return problemsOf(file, target).map((problem) => `${fileOf(target)}: ${problem}`)
  })
  if (problems.length > 0 && !rehearsal) throw new Error(`not all addons can be released:\n${problems.join('\n')}`)

  rmSync(to, { recursive: true, force: true })
  const main = join(to, 'main')
  for (const path of packed()) {
    mkdirSync(dirname(join(main, path)), { recursive: true })
    cpSync(join(root, path), join(main, path))
  }
  // Within the package, since napi works nowhere else; `files` names neither.
  const addons = join(main, 'addons')
  mkdirSync(addons, { recursive: true })
  for (const target of targets) {
    const file = join(artifacts, fileOf(target))
    if (existsSync(file)) cpSync(file, join(addons, fileOf(target)))
    else writeFileSync(join(addons, fileOf(target)), `A rehearsal's place for ${fileOf(target)}\n`)
  }

  const napi = (...args) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { cwd: main, encoding: 'utf8' })
    if (status !== 0) throw new Error(`napi ${args[0]}: ${stdout}${stderr}`)
  }
  napi('create-npm-dirs', '--npm-dir', 'npm')
  napi('artifacts', '--npm-dir', 'npm', '--output-dir', 'addons')
  const folders = targets.map((target) => join(main, 'npm', target.name))
  for (const folder of folders) completePlatform(folder)
  completeMain(main)
  return packInto([...folders, main], to)
}

/** What `npm pack` puts into the package, but the addon of this machine. */
function packed() {
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, stdio: 'pipe' })
  const [{ files }] = Object.values(JSON.parse(said.toString()))
  return files.map(({ path }) => path).filter((path) => !path.endsWith('.node') && path !== LICENCES)
}

function completePlatform(folder) {
  for (const file of ['LICENSE', LICENCES]) cpSync(join(root, file), join(folder, file))
  edit(folder, (manifest) => {
    manifest.files.push(LICENCES)
    // An addon cannot be read from within an archive.
    manifest.preferUnplugged = true
  })
}

function completeMain(folder) {
  // `napi artifacts` leaves a copy of each beside the manifest.
  for (const target of targets) rmSync(join(folder, fileOf(target)), { force: true })
  edit(folder, (manifest) => {
    // What `napi pre-publish` writes as well, once it has packed everything to look at it; `check.mjs` looks at what is published.
    manifest.optionalDependencies = Object.fromEntries(targets.map((target) => [packageOf(target), manifest.version]))
    manifest.files = manifest.files.filter((path) => path !== '*.node' && path !== LICENCES)
    // Of use in a clone alone.
    for (const field of ['scripts', 'devDependencies', 'napi']) delete manifest[field]
  })
}

function edit(folder, change) {
  const file = join(folder, 'package.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8'))
  change(manifest)
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`)
}

/** All by one npm, in their order. */
function packInto(folders, to) {
  const args = ['pack', ...folders, '--json', '--ignore-scripts', '--pack-destination', to]
  const said = execFileSync('npm', args, { cwd: to, stdio: 'pipe' })
  return Object.values(JSON.parse(said.toString())).map(({ filename }) => join(to, filename))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = stage({
    artifacts,
    to: packages,
    rehearsal: process.argv.includes('--rehearsal'),
  })
  for (const file of files) console.log(basename(file))
}

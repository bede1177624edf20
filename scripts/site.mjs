// The documentation site, into target/site: `npm run site`. What it is made with is in `site/`, and installed when it is first wanted; the reference of the Rust underneath is
// rustdoc's.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { shellFor } from './run.mjs'

const folder = fileURLToPath(new URL('../site', import.meta.url))
const root = fileURLToPath(new URL('..', import.meta.url))

/** Installs what the site is made with, where it is missing or another than its lock file names. */
export function setUpSite() {
  const { devDependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const has = ([name, version]) => {
    const file = join(folder, 'node_modules', name, 'package.json')
    return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).version === version
  }
  if (Object.entries(devDependencies).every(has)) return
  console.error('setting up: what the site is made with (some 60 MB)')
  const { status, stderr } = spawnSync(
    'npm',
    ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: folder,
      encoding: 'utf8',
      shell: shellFor('npm'),
    },
  )
  if (status !== 0) throw new Error(`npm ci failed in ${folder}: ${stderr?.trim().split('\n')[0]}`)
}

/**
 * What rustdoc makes of the sources: the folder; undefined where there is no Rust. What is private is there as well, since its readers are those who work on it. Throws where
 * a link in a comment leads nowhere.
 */
export function documentRust() {
  const RUSTDOCFLAGS = '-D warnings -A rustdoc::private_intra_doc_links'
  const args = ['doc', '--quiet', '--locked', '--no-deps', '--no-default-features', '--lib', '--document-private-items']
  const { error, status, stderr } = spawnSync('cargo', args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, RUSTDOCFLAGS },
  })
  if (error?.code === 'ENOENT') return undefined
  if (status !== 0) throw new Error(`cargo ${args.join(' ')}: ${error?.message ?? stderr}`)
  return resolve(root, process.env.CARGO_TARGET_DIR ?? 'target', 'doc')
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  setUpSite()
  const { build } = await import('../site/build.mjs')
  const begun = performance.now()
  const rust = documentRust()
  if (!rust) console.error('!! There is no cargo here: the site is without the reference of the Rust underneath')
  const { pages, broken } = await build({ rust })
  console.log(
    `${pages.length} pages in target/site, in ${((performance.now() - begun) / 1000).toFixed(1)} s: open target/site/index.html`,
  )
  for (const line of broken) console.error(`broken: ${line}`)
  if (broken.length > 0) process.exitCode = 1
}

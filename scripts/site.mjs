// The documentation site, into target/site: `npm run site`. What it is made with is in `site/`, and installed when it is first wanted.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const folder = fileURLToPath(new URL('../site', import.meta.url))

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
      shell: process.platform === 'win32',
    },
  )
  if (status !== 0) throw new Error(`npm ci failed in ${folder}: ${stderr?.trim().split('\n')[0]}`)
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  setUpSite()
  const { build } = await import('../site/build.mjs')
  const begun = performance.now()
  const { pages, broken } = await build()
  console.log(
    `${pages.length} pages in target/site, in ${((performance.now() - begun) / 1000).toFixed(1)} s: open target/site/index.html`,
  )
  for (const line of broken) console.error(`broken: ${line}`)
  if (broken.length > 0) process.exitCode = 1
}

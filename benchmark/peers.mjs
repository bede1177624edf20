// The packages that are measured beside this one, installed into target/bench/ when they are first needed: they are some 110 MB,
// which few who work on this package want among its development dependencies.

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Which of those in `peers/` a Node runs: the newest versions whose own documentation says that they do. */
export function peersOf(node = process.versions.node) {
  const [major, minor] = node.split('.').map(Number)
  // undici 8, the most demanding, asks for 22.19.
  return major > 22 || (major === 22 && minor >= 19) ? 'node-22' : 'node-20'
}

/** Installs what is missing, or is another than the lock file says, and returns the folder. Throws where that cannot be done. */
export function setUpPeers(group = peersOf()) {
  const source = join(root, 'benchmark/peers', group)
  const folder = folderOf(group)
  const mark = join(folder, '.installed')
  const lock = createHash('sha256')
    .update(readFileSync(join(source, 'package-lock.json')))
    .digest('hex')
  if (existsSync(mark) && readFileSync(mark, 'utf8') === lock) return folder
  console.error(`setting up: the peers that are measured (${group}, some 110 MB)`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const name of ['package.json', 'package-lock.json']) cpSync(join(source, name), join(folder, name))
  cpSync(join(root, '.npmrc'), join(folder, '.npmrc'))
  // Here `import` finds what is installed in this folder, by the names and the conditions that it has for its users.
  writeFileSync(join(folder, 'load.mjs'), 'export const load = (name) => import(name)\n')
  // Not `npm ci`: it fails where the lock file was written on a machine whose registry lacks a package of another platform.
  const options = [
    '--no-save',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    '--engine-strict=false',
  ]
  const { error, status, stderr } = spawnSync('npm', ['install', ...options], { cwd: folder, encoding: 'utf8' })
  if (error || status !== 0) throw new Error(`npm install failed in ${folder}: ${error?.message ?? stderr.trim()}`)
  writeFileSync(mark, lock)
  return folder
}

/** A peer's module. */
export async function importPeer(name) {
  return (await loaderOf(name))()
}

/** What will load a peer's module, and nothing else. */
export async function loaderOf(name) {
  const load = await loadIn(setUpPeers())
  return () => load(name)
}

/** Of a peer as it is installed, or of this package. */
export function versionOf(name) {
  return versionIn(name === undefined ? root : join(setUpPeers(), 'node_modules', name))
}

/** A peer's module without setting anything up: of those that are, or of the development dependencies. */
export async function importAtHand(name) {
  const folder = atHand(name)
  if (folder === root) return import(name)
  if (folder === undefined) throw new Error(`${name} is not installed`)
  const load = await loadIn(folder)
  return load(name)
}

/** The version of such a one; undefined where it is nowhere. */
export function versionAtHand(name) {
  const folder = atHand(name)
  return folder && versionIn(join(folder, 'node_modules', name))
}

function atHand(name) {
  const folders = [folderOf(peersOf()), root]
  return folders.find((folder) => existsSync(join(folder, 'node_modules', name, 'package.json')))
}

async function loadIn(folder) {
  const { load } = await import(pathToFileURL(join(folder, 'load.mjs')).href)
  return load
}

function folderOf(group) {
  return join(root, 'target/bench/peers', group)
}

function versionIn(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
}

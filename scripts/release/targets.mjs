// The platforms that have a prebuilt addon, and what each one's file must be. The one list of them beside `napi.targets` in package.json and
// the names that lib/addon.js requires, which a test holds against it.

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))
/** Where the addons of a release lie, each under its own name, and its packages. */
export const artifacts = join(root, 'target', 'release-artifacts')
export const packages = join(root, 'target', 'release-packages')

/**
 * `name`: as in the name of the package and of the file. `os`, `cpu`, `libc`: npm's words, by which it chooses. `runner`: the machine of the
 * workflow that builds it. `format`: what the file must say of itself (`addon-file.mjs` reads it).
 *
 * @typedef {{
 *   triple: string, name: string, os: string, cpu: string, libc?: 'glibc' | 'musl', runner: string,
 *   format: 'elf' | 'mach-o' | 'pe', machine: 'x64' | 'arm64'
 * }} Target
 */

/** What a gnu build may ask for at most: RHEL 7's, the oldest that Rust itself supports. Node's own builds ask for 2.28. */
export const GLIBC = '2.17'
/** Node 20's own floor is 11.0 on arm64 and 10.15 on x64. */
export const MACOS = { x64: '10.15', arm64: '11.0' }

/** @type {Target[]} */
export const targets = [
  linux('x86_64', 'x64', 'gnu'),
  linux('aarch64', 'arm64', 'gnu'),
  linux('x86_64', 'x64', 'musl'),
  linux('aarch64', 'arm64', 'musl'),
  other('x86_64-apple-darwin', 'darwin-x64', 'macos-15-intel'),
  other('aarch64-apple-darwin', 'darwin-arm64', 'macos-15'),
  other('x86_64-pc-windows-msvc', 'win32-x64-msvc', 'windows-2025'),
  other('aarch64-pc-windows-msvc', 'win32-arm64-msvc', 'windows-11-arm'),
]

/** The target by its triple or its name. */
export function targetOf(word) {
  const target = targets.find(({ triple, name }) => triple === word || name === word)
  if (!target) throw new Error(`no target is called ${word}; there are ${targets.map(({ name }) => name).join(', ')}`)
  return target
}

export const packageOf = ({ name }) => `trunkline-${name}`
export const fileOf = ({ name }) => `trunkline.${name}.node`

/** The tarballs that a version has, the platforms' first. */
export function tarballsOf(version) {
  return [...targets.map(packageOf), 'trunkline'].map((name) => ({ name, file: `${name}-${version}.tgz` }))
}

/** @returns {Target} */
function linux(processor, cpu, abi) {
  return {
    triple: `${processor}-unknown-linux-${abi}`,
    name: `linux-${cpu}-${abi}`,
    os: 'linux',
    cpu,
    libc: abi === 'gnu' ? 'glibc' : 'musl',
    // Zig links for all of them, on any machine.
    runner: 'ubuntu-24.04',
    format: 'elf',
    machine: cpu,
  }
}

/** @returns {Target} */
function other(triple, name, runner) {
  const [os, cpu] = name.split('-')
  return { triple, name, os, cpu, runner, format: os === 'darwin' ? 'mach-o' : 'pe', machine: cpu }
}

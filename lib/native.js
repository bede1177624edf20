'use strict'

/**
 * The addon of this platform: from this folder's parent, where it was built by `npm run build`, or from the package that is installed beside this one.
 * Where there is none, an error that names the platform, and says what to do.
 */

const { closeSync, openSync, readSync, readdirSync } = require('node:fs')
const { createRequire } = require('node:module')
const { join } = require('node:path')

const { built, installed } = require('./addons.js')

const { version } = require('../package.json')

/** What there are builds for, as `scripts/release/targets.mjs` has it. */
const BUILDS = 'Linux (glibc 2.17 or newer, and musl), macOS and Windows, each on x64 and arm64'

const name = nameOfPlatform()

module.exports = load()

/** @returns {typeof import('../native.js')} */
function load() {
  const here = built(name)
  if (here.addon) return here.addon
  if (here.error && !isMissing(here.error)) throw broken(`trunkline.${name}.node`, here.error)

  const found = installed(name)
  if (found.addon) {
    if (found.version !== version) throw ofAnother(found.version)
    return found.addon
  }
  if (found.error) throw isMissing(found.error) ? notInstalled(found.error) : broken(`trunkline-${name}`, found.error)

  const own = builtElsewhere()
  if (own) return own
  throw failure(
    `trunkline has no build for ${platform()}. There are builds for ${BUILDS}.` +
      (process.arch === 'ia32' ? ' If the system has 64 bits, use the Node of 64 bits.' : '') +
      ' It can be built from its sources, with Rust and a C compiler: `npm run build && npm pack` in a clone makes a package with an addon for the system that it is made on.',
  )
}

/** Built here for a platform that no package is for. */
function builtElsewhere() {
  try {
    return createRequire(__filename)(`../trunkline.${name}.node`)
  } catch (error) {
    if (!isMissing(error)) throw broken(`trunkline.${name}.node`, error)
  }
}

/** As packages and files are called; npm's words for the system and the processor, and the C library or the compiler. */
function nameOfPlatform() {
  const { platform, arch } = process
  if (platform === 'linux') return `linux-${arch}-${isMusl() ? 'musl' : 'gnu'}${arch === 'arm' ? 'eabihf' : ''}`
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

/** Node's own file says which loader it wants, near its beginning, and that is the C library's. */
function isMusl() {
  try {
    const file = openSync(process.execPath, 'r')
    const start = Buffer.alloc(4096)
    try {
      readSync(file, start, 0, start.length, 0)
    } finally {
      closeSync(file)
    }
    return start.includes('/ld-musl-')
  } catch {
    return false
  }
}

/** @param {any} error */
function isMissing(error) {
  // Bun and bundlers have the same word for it.
  return error?.code === 'MODULE_NOT_FOUND'
}

/** @param {unknown} cause */
function notInstalled(cause) {
  const others = besides()
  const [os, cpu, abi] = name.split('-')
  const libc = os === 'linux' ? ` --libc=${abi === 'musl' ? 'musl' : 'glibc'}` : ''
  return failure(
    `trunkline's addon for ${platform()} is not installed: there is no package trunkline-${name}` +
      (others.length > 0
        ? `, but ${others.join(' and ')}: node_modules was made on, or for, another platform. `
        : '. ') +
      'Remove node_modules and install anew on this platform, with optional dependencies (without --omit=optional, --no-optional, --ignore-optional); ' +
      'if it stays away, remove the lock file too, or run ' +
      `\`npm install --os=${os} --cpu=${cpu}${libc} trunkline@${version}\`.`,
    cause,
  )
}

/** Addons of other platforms that lie where this one's should. */
function besides() {
  try {
    const folder = join(__dirname, '..', '..')
    return readdirSync(folder).filter((entry) => /^trunkline-(linux|darwin|win32)-/.test(entry))
  } catch {
    return []
  }
}

/** @param {string} found */
function ofAnother(found) {
  return failure(
    `trunkline ${version} found the addon of version ${found} (trunkline-${name}): both must be of one version. ` +
      'Install anew, and let no override or resolution choose the version of one alone.',
  )
}

/** @param {string} what @param {any} cause */
function broken(what, cause) {
  const said = cause?.message ?? String(cause)
  const why = /GLIBC_\d/.test(said)
    ? 'The C library of this system is older than glibc 2.17, or the addon was built on a newer system than this.'
    : 'The file may be damaged, or of another platform: install anew.'
  return failure(`trunkline's addon for ${platform()} (${what}) cannot be loaded: ${said}. ${why}`, cause)
}

function platform() {
  const { platform, arch } = process
  const libc = platform === 'linux' ? ` (${name.endsWith('-musl') ? 'musl' : 'glibc'})` : ''
  return `${platform} ${arch}${libc}`
}

/** @param {string} message @param {unknown} [cause] */
function failure(message, cause) {
  // Told in docs/platforms.md.
  return Object.assign(new Error(message, cause === undefined ? undefined : { cause }), { code: 'ERR_ADDON' })
}

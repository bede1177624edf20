// @ts-nocheck: most of these files are never there.
'use strict'

/**
 * The addons that there may be. Each `require` is written out, since that is how bundlers see it, and stands right within a `try`, so that they bear with
 * what is not there. `scripts/release/targets.mjs` has the same names.
 */

/** Built here, by `npm run build`: `{ addon }`, or `{ error }`; neither where there is no such platform. */
module.exports.built = (/** @type {string} */ name) => {
  try {
    switch (name) {
      case 'linux-x64-gnu':
        return { addon: require('../trunkline.linux-x64-gnu.node') }
      case 'linux-arm64-gnu':
        return { addon: require('../trunkline.linux-arm64-gnu.node') }
      case 'linux-x64-musl':
        return { addon: require('../trunkline.linux-x64-musl.node') }
      case 'linux-arm64-musl':
        return { addon: require('../trunkline.linux-arm64-musl.node') }
      case 'darwin-x64':
        return { addon: require('../trunkline.darwin-x64.node') }
      case 'darwin-arm64':
        return { addon: require('../trunkline.darwin-arm64.node') }
      case 'win32-x64-msvc':
        return { addon: require('../trunkline.win32-x64-msvc.node') }
      case 'win32-arm64-msvc':
        return { addon: require('../trunkline.win32-arm64-msvc.node') }
    }
  } catch (error) {
    return { error }
  }
  return {}
}

/** Installed as a package of its own; with its `version`. */
module.exports.installed = (/** @type {string} */ name) => {
  try {
    switch (name) {
      case 'linux-x64-gnu':
        return {
          version: require('trunkline-linux-x64-gnu/package.json').version,
          addon: require('trunkline-linux-x64-gnu'),
        }
      case 'linux-arm64-gnu':
        return {
          version: require('trunkline-linux-arm64-gnu/package.json').version,
          addon: require('trunkline-linux-arm64-gnu'),
        }
      case 'linux-x64-musl':
        return {
          version: require('trunkline-linux-x64-musl/package.json').version,
          addon: require('trunkline-linux-x64-musl'),
        }
      case 'linux-arm64-musl':
        return {
          version: require('trunkline-linux-arm64-musl/package.json').version,
          addon: require('trunkline-linux-arm64-musl'),
        }
      case 'darwin-x64':
        return { version: require('trunkline-darwin-x64/package.json').version, addon: require('trunkline-darwin-x64') }
      case 'darwin-arm64':
        return {
          version: require('trunkline-darwin-arm64/package.json').version,
          addon: require('trunkline-darwin-arm64'),
        }
      case 'win32-x64-msvc':
        return {
          version: require('trunkline-win32-x64-msvc/package.json').version,
          addon: require('trunkline-win32-x64-msvc'),
        }
      case 'win32-arm64-msvc':
        return {
          version: require('trunkline-win32-arm64-msvc/package.json').version,
          addon: require('trunkline-win32-arm64-msvc'),
        }
    }
  } catch (error) {
    return { error }
  }
  return {}
}

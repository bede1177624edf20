'use strict'

/** Files that a command is given. */

const { readFileSync } = require('node:fs')
const { failure } = require('./args.js')

/** @param {string} file */
function textOf(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch (/** @type {any} */ error) {
    throw failure(error.code, `${file}: ${error.code === 'ENOENT' ? 'there is no such file' : error.message}`)
  }
}

/** @param {string | undefined} file */
function certificatesOf(file) {
  if (file === undefined) return undefined
  const text = textOf(file)
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text
  throw failure('NO_CERTIFICATE', `${file}: has no certificate in PEM`)
}

module.exports = { certificatesOf, textOf }

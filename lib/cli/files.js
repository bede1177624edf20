'use strict'

/** Files that a command is given. */

const { closeSync, openSync, readFileSync, readSync } = require('node:fs')
const { failure } = require('./args.js')

/** @param {string} file */
function textOf(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch (/** @type {any} */ error) {
    throw failure(error.code, `${file}: ${error.code === 'ENOENT' ? 'there is no such file' : error.message}`)
  }
}

/** As much of it, which may be far more than fits into memory. @param {string} file @param {number} bytes */
function beginningOf(file, bytes) {
  const open = openSync(file, 'r')
  try {
    const room = Buffer.alloc(bytes)
    return room.toString('utf8', 0, readSync(open, room, 0, bytes, 0))
  } finally {
    closeSync(open)
  }
}

/** @param {string | undefined} file */
function certificatesOf(file) {
  if (file === undefined) return undefined
  const text = textOf(file)
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text
  throw failure('NO_CERTIFICATE', `${file}: has no certificate in PEM`)
}

module.exports = { beginningOf, certificatesOf, textOf }

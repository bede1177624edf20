'use strict'

/** Whether bytes are those that `integrity` names, by https://www.w3.org/TR/SRI/. */

/** Each stronger than those before it. */
const ALGORITHMS = ['sha256', 'sha384', 'sha512']

/** @param {ArrayBuffer} bytes @param {string} metadata */
function isWhole(bytes, metadata) {
  const known = metadata
    .split(/[\t\n\f\r ]+/)
    .map((token) => /^([a-z0-9]+)-([A-Za-z0-9+/_-]+={0,2})(?:\?.*)?$/i.exec(token))
    .map((match) => ({ strength: ALGORITHMS.indexOf(match?.[1].toLowerCase() ?? ''), digest: match?.[2] ?? '' }))
    .filter(({ strength }) => strength >= 0)
  // What names nothing that is known is no demand.
  if (known.length === 0) return true
  const strongest = Math.max(...known.map(({ strength }) => strength))
  const digest = require('node:crypto').createHash(ALGORITHMS[strongest]).update(new Uint8Array(bytes)).digest()
  // Base64 of either alphabet, padded or not.
  return known.some((one) => one.strength === strongest && Buffer.from(one.digest, 'base64').equals(digest))
}

module.exports = { isWhole }

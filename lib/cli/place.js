'use strict'

/** Where requests of commands go, and with which key. */

const { isIP } = require('node:net')
const { UsageError } = require('./args.js')

/** @param {string} text With or without a scheme. @param {string} command */
function urlOf(text, command) {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`
  const url = URL.canParse(full) ? new URL(full) : undefined
  const problem = !url
    ? 'is no URL'
    : !/^https?:$/.test(url.protocol)
      ? 'must begin with https:// or http://'
      : url.username || url.password
        ? 'must be without user and password: name the variable that has the key by --key-env'
        : url.search || url.hash
          ? 'must be without a query and a fragment'
          : undefined
  // What is no good may be a key.
  if (!url || problem) throw Object.assign(new UsageError(`the URL ${problem}`), { command })
  return url
}

/** Without the brackets of an IPv6 address. @param {URL} url */
function hostOf({ hostname }) {
  return hostname.replace(/^\[|\]$/g, '')
}

/** @param {URL} url */
function portOf({ port, protocol }) {
  return port ? Number(port) : protocol === 'https:' ? 443 : 80
}

/** @param {string} hostname */
function isLoopback(hostname) {
  const host = hostname.replace(/^\[|\]$/g, '')
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/**
 * The header that has the key, by whose address it is. @param {string | undefined} name Of the variable. @param {URL} url @param {string} command
 * @returns {Record<string, string>}
 */
function credentials(name, { hostname }, command) {
  if (name === undefined) return {}
  const key = keyOf(name, command)
  if (hostname === 'api.anthropic.com') return { 'x-api-key': key, 'anthropic-version': '2023-06-01' }
  if (hostname === 'generativelanguage.googleapis.com') return { 'x-goog-api-key': key }
  return { authorization: `Bearer ${key}` }
}

/** The key that a variable has. @param {string} name @param {string} command */
function keyOf(name, command) {
  const key = process.env[name]
  const problem = !key
    ? 'is not set, or empty'
    : /[^\x21-\x7e]/.test(key)
      ? 'has what no key has (a space, a line break?)'
      : undefined
  if (!key || problem) {
    // Somebody may have given the key itself.
    const shown = /^[A-Z_][A-Z0-9_]*$/i.test(name) && name.length <= 64 ? `the variable ${name}` : 'that variable'
    throw Object.assign(new UsageError(`--key-env: ${shown} ${problem}`), { command })
  }
  return key
}

/** Where models are listed, which costs nothing and needs a key. @param {URL} url */
function modelsPath({ hostname, pathname }) {
  const isBare = pathname === '/' || pathname === ''
  if (hostname === 'api.anthropic.com' && isBare) return '/v1/models'
  if (hostname === 'generativelanguage.googleapis.com' && isBare) return '/v1beta/models'
  return '/models'
}

module.exports = { credentials, hostOf, isLoopback, keyOf, modelsPath, portOf, urlOf }

'use strict'

/** Which proxy of the environment a client takes: the rules are those of `pool.proxy` and `pool.noProxy`. */

const { BlockList, isIP } = require('node:net')
const { hostOf, portOf } = require('./place.js')

/** @param {URL} url @param {NodeJS.ProcessEnv} env @returns {{ url: URL, from: string } | undefined} */
function proxyFor(url, env) {
  const own =
    url.protocol === 'https:'
      ? ['https_proxy', 'HTTPS_PROXY']
      : ['http_proxy', ...(env.REQUEST_METHOD ? [] : ['HTTP_PROXY'])]
  // The first one that is set holds, be it empty.
  const from = [...own, 'all_proxy', 'ALL_PROXY'].find((name) => env[name] !== undefined)
  const value = from === undefined ? '' : (env[from] ?? '')
  if (from === undefined || value === '' || isExempt(url, env.no_proxy ?? env.NO_PROXY ?? '')) return undefined
  const text = value.includes('://') ? value : `http://${value}`
  return URL.canParse(text) ? { url: new URL(text), from } : undefined
}

/** @param {URL} url @param {string} list */
function isExempt(url, list) {
  const host = hostOf(url).toLowerCase().replace(/\.$/, '')
  return list
    .split(/[\s,]+/)
    .filter(Boolean)
    .some((entry) => fits(entry.toLowerCase(), host, portOf(url)))
}

/** @param {string} entry @param {string} host @param {number} port */
function fits(entry, host, port) {
  if (entry === '*') return true
  const [, name, only] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(entry) ?? [undefined, entry, undefined]
  if (only !== undefined && Number(only) !== port) return false
  const bare = String(name).replace(/^\[|\]$/g, '')
  const [address, bits] = bare.split('/')
  const family = isIP(host)
  if (isIP(address) !== 0)
    return isIP(address) === family && isWithin(host, address, bits, family === 6 ? 'ipv6' : 'ipv4')
  const domain = bare.replace(/^\*?\./, '')
  return domain !== '' && (host === domain || host.endsWith(`.${domain}`))
}

/** @param {string} host @param {string} address @param {string | undefined} bits @param {'ipv4' | 'ipv6'} kind */
function isWithin(host, address, bits, kind) {
  const list = new BlockList()
  try {
    list.addSubnet(address, bits === undefined ? (kind === 'ipv6' ? 128 : 32) : Number(bits), kind)
    return list.check(host, kind)
  } catch {
    return false
  }
}

/** Without its user and password. @param {URL} url */
function shownProxy({ protocol, host }) {
  return `${protocol}//${host}`
}

module.exports = { proxyFor, shownProxy }

'use strict'

/** What is wrong, in words, and what to do about it. */

const { plain } = require('./screen.js')

/** @typedef {{ code: string, message: string, advice: string }} Problem */

/** @type {Problem} */
const PLAIN_AT_TLS = {
  code: 'PLAIN_HTTP_AT_TLS_PORT',
  message: 'the server speaks plain HTTP at this port, and no TLS',
  advice: 'Begin the URL with http:// if that is meant, or name the port that speaks TLS.',
}

/** @type {Problem} */
const TLS_AT_PLAIN = {
  code: 'TLS_AT_PLAIN_HTTP_PORT',
  message: 'the server speaks TLS at this port, and no plain HTTP',
  advice: 'Begin the URL with https://.',
}

/** @param {string} code @param {string} host @returns {Problem} */
function ofName(code, host) {
  const name = plain(host, 100)
  if (code === 'ENOTFOUND')
    return {
      code,
      message: `there is no address of ${name}`,
      advice:
        'Is the name right? A name of an inner network needs its VPN, or its resolver. In a container: is its DNS that of the host?',
    }
  if (code === 'EAI_AGAIN' || code === 'TIMEOUT')
    return {
      code,
      message: `the resolver does not answer for ${name}`,
      advice:
        'Is there a network? See /etc/resolv.conf, and whether port 53 is open. It may pass by itself: try again.',
    }
  return {
    code,
    message: `${name} cannot be looked up: ${plain(code)}`,
    advice: 'See whether other names are found, and then the resolver of this machine.',
  }
}

/** @param {string} code @param {string} host @param {number} port @param {boolean} isProxy @returns {Problem} */
function ofConnect(code, host, port, isProxy) {
  const what = `${isProxy ? 'the proxy ' : ''}${plain(host, 100)}, port ${port}`
  const message = /** @type {Record<string, string>} */ ({
    ECONNREFUSED: `${what} takes no connection`,
    TIMEOUT: `${what} does not answer`,
    ETIMEDOUT: `${what} does not answer`,
    ENETUNREACH: `there is no way to ${what}`,
    EHOSTUNREACH: `there is no way to ${what}`,
  })[code]
  const advice = /** @type {Record<string, string>} */ ({
    ECONNREFUSED:
      'Does it run, and at that port? On this machine: does it listen at 127.0.0.1, ::1, or within a container alone?',
    TIMEOUT:
      'A firewall is likely that drops what it does not let through. Is a proxy to be used here (HTTPS_PROXY)? Is this address on its list?',
    ENETUNREACH: 'Is there a network? With IPv6 addresses alone: has this machine IPv6?',
  })
  return {
    code,
    message: message ?? `${what} cannot be connected to: ${plain(code)}`,
    advice:
      advice[{ ETIMEDOUT: 'TIMEOUT', EHOSTUNREACH: 'ENETUNREACH' }[code] ?? code] ??
      'See whether other addresses can be reached from here.',
  }
}

/** @param {any} error @returns {Problem} */
function ofProxy({ code, status }) {
  if (status === 407)
    return {
      code: 'PROXY_407',
      message: 'the proxy wants a user and a password (407)',
      advice: 'They go into its URL, percent-encoded: http://user:password@proxy:3128.',
    }
  const answered = status ? `answers ${status}` : `does not answer as one (${plain(code)})`
  return {
    code: status ? `PROXY_${status}` : code,
    message: `the proxy ${answered} to CONNECT`,
    advice: 'Is it to be used for this host? NO_PROXY names those that are gone to without it.',
  }
}

/** @param {any} error @param {Record<string, any>} values @returns {Problem} */
function ofHandshake({ code, message }, values) {
  if (code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL' || /no.application.protocol/i.test(message))
    return {
      code,
      message: 'the server speaks none of the protocols that were offered',
      advice: values.h2 ? 'It has no HTTP/2: leave --h2 out, and pool.http2 at its default.' : 'Leave --h1 out.',
    }
  if (/ALERT_(PROTOCOL_VERSION|HANDSHAKE_FAILURE)|UNSUPPORTED_PROTOCOL/.test(code ?? ''))
    return {
      code,
      message: 'the server has no version or cipher of TLS in common with this one',
      advice: 'TLS 1.2 or 1.3 is needed. It may also want a client certificate: pool.tls.cert and pool.tls.key.',
    }
  if (/CERTIFICATE_REQUIRED|BAD_CERTIFICATE/.test(code ?? ''))
    return {
      code,
      message: 'the server wants a client certificate',
      advice: 'Give it by pool.tls.cert and pool.tls.key.',
    }
  if (code === 'TIMEOUT')
    return {
      code,
      message: 'the server takes the connection, and is silent in the handshake',
      advice: 'A firewall that looks into TLS, or a server that is too busy. From another network, is it the same?',
    }
  return {
    code: code ?? 'TLS',
    message: `the handshake failed: ${plain(code ?? message)}`,
    advice: 'Is this a TLS port? Does something on the way (a firewall, a virus scanner) look into connections?',
  }
}

const CLOCK = "If that is no surprise to the server's owner, see this machine's clock:"

/** @param {string} code @param {any} certificate @param {string} host @returns {Problem} */
function ofCertificate(code, certificate, host) {
  const now = `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`
  if (code === 'CERT_HAS_EXPIRED')
    return {
      code,
      message: `the certificate has expired, on ${certificate?.validTo.slice(0, 10)}`,
      advice: `Whoever runs the server has to renew it. ${CLOCK} it says ${now}.`,
    }
  if (code === 'CERT_NOT_YET_VALID')
    return {
      code,
      message: `the certificate is not valid before ${certificate?.validFrom.slice(0, 10)}`,
      advice: `This machine's clock is most likely wrong: it says ${now}.`,
    }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return {
      code,
      message: `the certificate is of another host than ${plain(host, 100)}`,
      advice: `It is of ${plain(certificate?.names.slice(0, 5).join(', ') || certificate?.subject, 300)}. Is the name in the URL right? A login page, or a proxy, may answer in its place.`,
    }
  return {
    code,
    message: `the certificate is not trusted: ${plain(code)}`,
    advice: `It is by ${plain(certificate?.issuer ?? 'nobody', 100)}. If that is your company's, or your own: NODE_EXTRA_CA_CERTS=company.pem, or pool.tls.ca; here --ca FILE. If it is nobody you know, somebody is in between.`,
  }
}

/** @param {any} error @param {boolean} isH2 @returns {Problem} */
function ofHttp({ code, message }, isH2) {
  if (code === 'TIMEOUT')
    return {
      code,
      message: 'the server takes the connection, and does not answer',
      advice: 'Is the URL that of the API? Does it take long to start? --timeout MS waits longer.',
    }
  if (isH2)
    return {
      code: code ?? 'HTTP2',
      message: `HTTP/2 failed: ${plain(message)}`,
      advice: "Try --h1. If that is well, pool: { http2: 'never' } is what to set.",
    }
  if (/^HPE_/.test(code ?? ''))
    return {
      code,
      message: 'what the server answers is no HTTP/1.1',
      advice: 'Is this the port of the API? A server of HTTP/2 without TLS is looked at by --h2.',
    }
  return {
    code: code ?? 'HTTP',
    message: `the exchange failed: ${plain(code ?? message)}`,
    advice:
      'The server closed the connection in place of an answer. Is this the port of the API? Its own log may say why.',
  }
}

/** What an answer shows to be wrong. @param {any} http @param {URL} url @param {boolean} hasKey @returns {Problem | undefined} */
function ofAnswer({ status, isHtml, location }, url, hasKey) {
  const elsewhere =
    status >= 300 && status < 400 && location && URL.canParse(location, url.href)
      ? new URL(location, url.href)
      : undefined
  if (elsewhere && elsewhere.host !== url.host)
    return {
      code: 'REDIRECTED',
      message: `the answer leads to ${plain(elsewhere.host, 100)}`,
      advice:
        'A network that wants a login (a captive portal) does so: open any page in a browser. Else that may be the right base URL.',
    }
  if (status === 407) return ofProxy({ code: 'PROXY', status })
  if (isHtml && (status < 400 || status === 511))
    return {
      code: 'HTML',
      message: 'the answer is a web page, and no JSON',
      advice:
        'Is this the base URL of an API (with its /v1)? A network that wants a login (a captive portal), or a proxy, may answer in its place: open any page in a browser.',
    }
  if (hasKey && (status === 401 || status === 403))
    return {
      code: `KEY_${status}`,
      message: `the key is refused (${status})`,
      advice:
        'Is it whole, of this provider, not revoked, and may it list models? It is taken from the variable as it is: without quotes and line breaks.',
    }
  if (status >= 500)
    return {
      code: `STATUS_${status}`,
      message: `the server answers ${status}`,
      advice: "It is there, and not well. See the provider's page of its status; the pool asks again by itself.",
    }
  return undefined
}

/** @param {any} seen @returns {Problem} */
function ofPool({ error }) {
  return {
    code: error.code,
    message: `the pool fails where Node does not: ${plain(error.message, 300)}`,
    advice:
      "The pool trusts the system's roots and NODE_EXTRA_CA_CERTS, and takes the proxy of the environment; Node trusts roots of its own. See pool.tls.ca and pool.proxy.",
  }
}

module.exports = {
  PLAIN_AT_TLS,
  TLS_AT_PLAIN,
  ofAnswer,
  ofCertificate,
  ofConnect,
  ofHandshake,
  ofHttp,
  ofName,
  ofPool,
  ofProxy,
}

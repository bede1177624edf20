'use strict'

/** What Rust may know of the environment: it does not read it itself, which would race with writes to it. */
function environment() {
  const { env } = process
  return {
    baseUrl: firstFull(env, 'TRUNKLINE_BASE_URL', 'OPENAI_BASE_URL'),
    apiKey: firstFull(env, 'TRUNKLINE_API_KEY', 'OPENAI_API_KEY'),
    anthropicBaseUrl: firstFull(env, 'TRUNKLINE_BASE_URL', 'ANTHROPIC_BASE_URL'),
    anthropicApiKey: firstFull(env, 'TRUNKLINE_API_KEY', 'ANTHROPIC_API_KEY'),
    geminiBaseUrl: firstFull(env, 'TRUNKLINE_BASE_URL', 'GOOGLE_GEMINI_BASE_URL'),
    geminiApiKey: firstFull(env, 'TRUNKLINE_API_KEY', 'GEMINI_API_KEY'),
    extraCaCerts: env.NODE_EXTRA_CA_CERTS,
    sslCertFile: env.SSL_CERT_FILE,
    sslCertDir: env.SSL_CERT_DIR,
    httpsProxy: firstSet(env, 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'),
    // In a CGI program HTTP_PROXY is a header that whoever calls it may send (httpoxy).
    httpProxy: firstSet(env, 'http_proxy', ...(env.REQUEST_METHOD ? [] : ['HTTP_PROXY']), 'all_proxy', 'ALL_PROXY'),
    noProxy: env.no_proxy ?? env.NO_PROXY,
  }
}

/**
 * Name and value of the first variable that is set, be it to nothing, which then holds.
 * @param {NodeJS.ProcessEnv} env @param {string[]} names
 */
function firstSet(env, ...names) {
  const name = names.find((name) => env[name] !== undefined)
  return name === undefined ? undefined : [name, env[name]]
}

/**
 * Name and value of the first variable that says something.
 * @param {NodeJS.ProcessEnv} env @param {string[]} names
 */
function firstFull(env, ...names) {
  const name = names.find((name) => env[name])
  return name === undefined ? undefined : [name, env[name]]
}

module.exports = { environment }

'use strict'

/**
 * Attributes of spans and metrics: of a chat or an embedding by the GenAI conventions (github.com/open-telemetry/semantic-conventions-genai,
 * status Development), of any other request by those of HTTP.
 */

/** By the protocol, for hosts that nobody knows. @type {Record<string, string>} */
const FLAVORS = { openai: 'openai', anthropic: 'anthropic', gemini: 'gcp.gemini' }

/** Hosts of providers that the conventions have names for; `.` at the beginning: and all below. */
const HOSTS = /** @type {[string, string][]} */ ([
  ['api.openai.com', 'openai'],
  ['api.anthropic.com', 'anthropic'],
  ['generativelanguage.googleapis.com', 'gcp.gemini'],
  ['.aiplatform.googleapis.com', 'gcp.vertex_ai'],
  ['.openai.azure.com', 'azure.ai.openai'],
  ['.services.ai.azure.com', 'azure.ai.inference'],
  ['.amazonaws.com', 'aws.bedrock'],
  ['api.deepseek.com', 'deepseek'],
  ['api.groq.com', 'groq'],
  ['api.mistral.ai', 'mistral_ai'],
  ['api.x.ai', 'x_ai'],
  ['api.perplexity.ai', 'perplexity'],
  ['api.cohere.com', 'cohere'],
  ['api.cohere.ai', 'cohere'],
  ['api.moonshot.ai', 'moonshot_ai'],
  ['api.moonshot.cn', 'moonshot_ai'],
])

/** @type {Record<string, string>} */
const OPERATIONS = { chat: 'chat', embed: 'embeddings' }

/** What a request is called: its operation by the GenAI conventions, where it has one. @param {any} message @returns {string | undefined} */
function operationOf({ operation }) {
  return OPERATIONS[operation]
}

/** What the beginning of a request says. @param {any} message @returns {{ name: string, attributes: Record<string, any> }} */
function beginningOf(message) {
  const { method, model, request, stream, url } = message
  const operation = operationOf(message)
  if (operation === undefined) {
    const attributes = { 'http.request.method': method, ...(url !== null && placeOf(url)) }
    return { name: method, attributes }
  }
  const attributes = present({
    'gen_ai.operation.name': operation,
    'gen_ai.request.model': model ?? undefined,
    'gen_ai.request.stream': stream || undefined,
    ...(operation === 'chat' ? ofChat(request) : ofEmbeddings(request)),
  })
  return { name: model === null ? operation : `${operation} ${model}`, attributes }
}

/** @param {any} request */
function ofChat(request) {
  const { n, stop, response_format: format } = request ?? {}
  return {
    'gen_ai.request.max_tokens': number(request?.max_completion_tokens ?? request?.max_tokens),
    'gen_ai.request.temperature': number(request?.temperature),
    'gen_ai.request.top_p': number(request?.top_p),
    'gen_ai.request.top_k': number(request?.top_k),
    'gen_ai.request.frequency_penalty': number(request?.frequency_penalty),
    'gen_ai.request.presence_penalty': number(request?.presence_penalty),
    'gen_ai.request.seed': number(request?.seed),
    'gen_ai.request.choice.count': n === 1 ? undefined : number(n),
    'gen_ai.request.stop_sequences':
      typeof stop === 'string' ? [stop] : Array.isArray(stop) ? stop.map(String) : undefined,
    'gen_ai.output.type':
      format === undefined || format === null ? undefined : format.type === 'text' ? 'text' : 'json',
  }
}

/** @param {any} request */
function ofEmbeddings(request) {
  const format = request?.encoding_format
  return {
    'gen_ai.embeddings.dimension.count': number(request?.dimensions),
    'gen_ai.request.encoding_formats': typeof format === 'string' ? [format] : undefined,
  }
}

/** Who was asked last. @param {any} message @param {Record<string, string>} providers names that the user gave, by those of the options */
function askedOf(message, providers) {
  const attempt = message.attempts.at(-1)
  if (attempt?.origin === undefined) return {}
  const { hostname, port, protocol } = new URL(attempt.origin)
  const host = hostname.replace(/^\[|\]$/g, '')
  const asked = {
    'server.address': host,
    'server.port': port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
  }
  if (operationOf(message) === undefined) return asked
  return { 'gen_ai.provider.name': providers[attempt.provider] ?? nameOf(host, attempt.protocol), ...asked }
}

/** @param {string} host @param {string} protocol */
function nameOf(host, protocol) {
  const known = HOSTS.find(([name]) => (name[0] === '.' ? host.endsWith(name) : host === name))
  return known?.[1] ?? FLAVORS[protocol] ?? protocol
}

/** What the end of a request says. @param {any} message @returns {Record<string, any>} */
function endOf(message) {
  const { attempts, error, meta, result, stream } = message
  const ofError = error === undefined ? {} : { 'error.type': errorTypeOf(error) }
  if (operationOf(message) === undefined) {
    const status = attempts.at(-1)?.status ?? undefined
    const resent = attempts.length > 1 ? attempts.length - 1 : undefined
    return present({ 'http.response.status_code': status, 'http.request.resend_count': resent, ...ofError })
  }
  const usage = meta?.usage
  const reasons = result?.choices?.map((/** @type {any} */ choice) => choice.finish_reason ?? 'error')
  return present({
    'gen_ai.response.id': result?.id,
    'gen_ai.response.model': error === undefined ? meta?.model : undefined,
    'gen_ai.response.finish_reasons': reasons,
    'gen_ai.response.time_to_first_chunk': stream ? firstChunkOf(message) : undefined,
    'gen_ai.usage.input_tokens': number(usage?.prompt_tokens),
    'gen_ai.usage.output_tokens': number(usage?.completion_tokens),
    'gen_ai.usage.cache_read.input_tokens': number(usage?.prompt_tokens_details?.cached_tokens),
    'gen_ai.usage.cache_creation.input_tokens': number(usage?.prompt_tokens_details?.cache_write_tokens),
    'gen_ai.usage.reasoning.output_tokens': number(usage?.completion_tokens_details?.reasoning_tokens),
    'trunkline.attempts': attempts.length,
    'trunkline.request_id': meta?.requestId ?? undefined,
    ...ofError,
  })
}

/** Seconds from the beginning of the request to the first piece that was handed over. @param {any} message @returns {number | undefined} */
function firstChunkOf({ attempts }) {
  const answered = attempts.findLast(
    (/** @type {any} */ attempt) => attempt.firstByteAt !== undefined && attempt.status < 400,
  )
  return answered && answered.firstByteAt / 1000
}

/** Our code, or what else the error is called by. @param {any} error */
function errorTypeOf(error) {
  if (typeof error?.code === 'string') return error.code
  if (typeof error?.cause?.code === 'string') return error.cause.code
  return typeof error?.name === 'string' ? error.name : '_OTHER'
}

/** A URL without what may be a secret. @param {string} url */
function placeOf(url) {
  if (url.startsWith('/')) return { 'trunkline.path': url.split('?')[0] }
  try {
    const { origin, pathname } = new URL(url)
    return { 'url.full': `${origin}${pathname}` }
  } catch {
    return {}
  }
}

/** @param {unknown} value */
function number(value) {
  return typeof value === 'number' ? value : undefined
}

/** @param {Record<string, any>} attributes */
function present(attributes) {
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined))
}

module.exports = { operationOf, beginningOf, askedOf, endOf, firstChunkOf, errorTypeOf }

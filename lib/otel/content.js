'use strict'

/** What is said to a model and by it, as the GenAI conventions of OpenTelemetry have it: for those who ask for it, and only then. */

/** @param {any} request @returns {string | undefined} */
function inputOf(request) {
  if (!Array.isArray(request?.messages)) return undefined
  return JSON.stringify(request.messages.map(messageOf))
}

/** @param {any} completion @returns {string | undefined} */
function outputOf(completion) {
  if (!Array.isArray(completion?.choices)) return undefined
  return JSON.stringify(
    completion.choices.map((/** @type {any} */ choice) => ({
      ...messageOf(choice?.message),
      finish_reason: choice?.finish_reason ?? 'error',
    })),
  )
}

/** @param {any} message */
function messageOf(message) {
  const role = message?.role ?? 'assistant'
  if (role === 'tool') {
    return {
      role,
      parts: [{ type: 'tool_call_response', id: message.tool_call_id ?? null, response: message.content }],
    }
  }
  const parts = []
  if (typeof message?.reasoning_content === 'string')
    parts.push({ type: 'reasoning', content: message.reasoning_content })
  if (typeof message?.content === 'string') parts.push({ type: 'text', content: message.content })
  else if (Array.isArray(message?.content)) parts.push(...message.content.map(partOf))
  if (typeof message?.refusal === 'string') parts.push({ type: 'refusal', content: message.refusal })
  for (const call of message?.tool_calls ?? []) {
    const { name, arguments: text } = call.function ?? {}
    parts.push({
      type: 'tool_call',
      id: call.id ?? null,
      name: name ?? call.custom?.name ?? '',
      arguments: parsed(text ?? call.custom?.input),
    })
  }
  return { role, parts, ...(typeof message?.name === 'string' && { name: message.name }) }
}

/** @param {any} part */
function partOf(part) {
  switch (part?.type) {
    case 'text':
      return { type: 'text', content: part.text }
    case 'refusal':
      return { type: 'refusal', content: part.refusal }
    case 'image_url': {
      const url = String(part.image_url?.url ?? '')
      const [, type, data] = /^data:([^;,]*)[^,]*;base64,(.*)$/s.exec(url) ?? []
      return data === undefined
        ? { type: 'uri', modality: 'image', uri: url }
        : { type: 'blob', modality: 'image', mime_type: type, content: data }
    }
    case 'input_audio':
      return {
        type: 'blob',
        modality: 'audio',
        mime_type: `audio/${part.input_audio?.format}`,
        content: part.input_audio?.data ?? '',
      }
    default:
      // Of what has no part of its own there, the kind.
      return { type: String(part?.type ?? 'unknown') }
  }
}

/** @param {unknown} text */
function parsed(text) {
  try {
    return JSON.parse(/** @type {string} */ (text))
  } catch {
    return text ?? null
  }
}

module.exports = { inputOf, outputOf }

// One call of a load.

import { EVENTS } from './series.mjs'

const PRIORITIES = ['critical', 'interactive', 'batch', 'background']
const QUESTION = 'what is the capital of the country of that number?'

/** `one(number, of)` of a load: resolves with whether the answer was right. Bodies differ from call to call. */
export function callOf(line, load) {
  const { kind, answer, request, origins, tenants, priorities } = load
  const filling = 'a'.repeat(request ?? 0)
  const body = (number) => ({
    model: 'gpt-4o-mini',
    messages: [{ role: 'user', content: `Question number ${number}: ${QUESTION}${filling}` }],
    temperature: 0.7,
    max_tokens: 100,
  })
  const options = (number, of) => {
    if (origins !== undefined) return { provider: providerOf(number % origins) }
    if (tenants !== undefined) return { tenant: `tenant-${number % tenants}` }
    if (priorities) return { priority: PRIORITIES[of % PRIORITIES.length] }
    return undefined
  }
  if (kind === 'stream') {
    return async (number, of) => {
      let events = 0
      for await (const chunk of line.stream(body(number), options(number, of))) {
        if (chunk.choices[0]?.delta.content) events++
      }
      return events === EVENTS
    }
  }
  return async (number, of) => {
    const { content } = (await line.chat(body(number), options(number, of))).choices[0].message
    return answer === undefined ? content.length > 0 : content.length === answer
  }
}

export const providerOf = (number) => `origin-${number}`

/** The options of a client whose providers are at these URLs. */
export function optionsOf(client, load, urls) {
  if (load.origins === undefined) return { ...client, baseURL: `${urls[0]}/v1`, apiKey: 'k' }
  const provider = (url, number) => [providerOf(number), { baseURL: `${url}/v1`, apiKey: 'k' }]
  return { ...client, providers: Object.fromEntries(urls.map(provider)) }
}

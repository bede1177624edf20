// What any `fetch` is asked with, and the least that reads its streams.

export const API_KEY = 'sk-benchmark'

export const HEADERS = { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}` }

/** A client of a function that is called like `fetch`, with further options for each call. */
export function viaFetch(url, fetch, options = {}) {
  const ask = async (body) => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: HEADERS,
      body: JSON.stringify(body),
      ...options,
    })
    if (response.status !== 200) throw new Error(`status ${response.status}`)
    return response
  }
  return {
    chat: async (body) => (await ask(body)).json(),
    stream: async (body) => said((await ask({ ...body, stream: true })).body),
  }
}

/** What the deltas of a stream of events say: decode, split, parse, and no more. */
export async function said(chunks) {
  const decoder = new TextDecoder()
  let rest = ''
  let text = ''
  for await (const bytes of chunks) {
    const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n')
    rest = events.pop()
    for (const event of events) {
      const data = event.slice('data: '.length)
      if (data !== '[DONE]') text += JSON.parse(data).choices[0]?.delta.content ?? ''
    }
  }
  return text
}

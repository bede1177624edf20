import { type ChatCompletion, type ChatRequest, RateLimitError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start()
const line: Trunkline = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
const request: ChatRequest = { model: 'm', messages: [{ role: 'user', content: 'Hello' }] }
const answer: ChatCompletion = await line.chat(request)
const response: Response = await line.fetch(`${upstream.url}/v1/models`)
let said = ''
for await (const piece of line.stream(request).text()) said += piece
console.log(said === answer.choices[0]?.message.content, response.status, new Set([RateLimitError]).size)

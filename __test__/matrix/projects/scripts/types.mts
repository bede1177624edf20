import { type ChatRequest, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream: MockUpstream = await MockUpstream.start()
const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
const request: ChatRequest = { model: 'm', messages: [{ role: 'user', content: 'Hello' }] }
const text: string = await line.stream(request).finalText()
console.log(text.length > 0 ? 'typed' : 'empty')

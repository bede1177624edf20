import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start()
const line = new Trunkline({ baseURL: `${upstream.url}/v1`, apiKey: 'k' })
console.log((await line.chat({ model: 'm', messages: [] })).object)

import trunkline = require('trunkline')
import { Trunkline } from 'trunkline'
import testing = require('trunkline/testing')

async function main(): Promise<void> {
  const upstream = await testing.MockUpstream.start()
  const options: trunkline.TrunklineOptions = { baseURL: `${upstream.url}/v1`, apiKey: 'k' }
  const line = new Trunkline(options)
  const said: string = await line.stream({ model: 'm', messages: [] }).finalText()
  console.log(said.length > 0, trunkline.Trunkline === Trunkline)
}
void main()

import { Trunkline } from 'trunkline'

const line = new Trunkline()

export async function POST(request) {
  const { messages } = await request.json()
  const stream = line.stream({ model: 'm', messages }, { signal: request.signal })
  return new Response(stream.toReadableStream(), { headers: { 'content-type': 'application/x-ndjson' } })
}

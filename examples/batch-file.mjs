// A file of requests becomes a file of answers. Stopped midway, the same call goes on where it was.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = process.env.OPENAI_API_KEY ? null : await MockUpstream.start({ latency: 20 })
const line = new Trunkline(upstream ? { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } : {})

const folder = await mkdtemp(join(tmpdir(), 'trunkline-'))
const [input, output] = [join(folder, 'requests.jsonl'), join(folder, 'answers.jsonl')]

const requests = Array.from({ length: 40 }, (_, n) => ({
  custom_id: `square-${n}`,
  method: 'POST',
  url: '/v1/chat/completions',
  body: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: `What is ${n} squared?` }], max_tokens: 10 },
}))
// Two lines that cannot be sent.
const lines = [...requests.map((request) => JSON.stringify(request)), 'no request', JSON.stringify(requests[0])]
await writeFile(input, `${lines.join('\n')}\n`)

const first = line.batchFile(input, output, { concurrency: 4 })
while (first.progress.succeeded < 10) await new Promise((resolve) => setTimeout(resolve, 5))
const stopped = await first.stop()
console.log(
  `${stopped.status}: ${stopped.progress.succeeded >= 10 ? 'ten or more' : 'few'} of ${stopped.progress.total}`,
)

const { status, errors, badLines, progress } = await line.batchFile(input, output)
console.log(`${status}: ${progress.succeeded} answered, ${progress.failed} failed, ${progress.repeated} paid twice`)
for (const { message } of badLines.first) console.log(message)

const answers = (await readFile(output, 'utf8')).trim().split('\n')
const failures = (await readFile(errors, 'utf8')).trim().split('\n')
console.log(`${answers.length} lines of answers, ${failures.length} of failures`)
console.log(Object.keys(JSON.parse(answers[0])).join(', '))

await line.close()
await upstream?.close()
await rm(folder, { recursive: true })

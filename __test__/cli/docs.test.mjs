// The outputs in docs/cli.md are what the commands say. `DOCS=write` writes them anew.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { ids, request, write } from '../job/support.mjs'
import { REQUEST, root, start, until } from '../support.mjs'
import { begin, trunkline } from './run.mjs'

const page = join(root, 'docs/cli.md')

async function upstream(t) {
  const mock = await MockUpstream.start({ tls: true, roundTrip: 10 })
  t.after(() => mock.close())
  const cwd = mkdtempSync(join(tmpdir(), 'trunkline-docs-'))
  t.after(() => rmSync(cwd, { recursive: true, force: true }))
  writeFileSync(join(cwd, 'company.pem'), mock.ca)
  return { cwd, url: `${mock.url}/v1` }
}

/** Each gives the command as it was typed, and what it said. */
const outputs = {
  doctor: async (t) => {
    const { cwd, url } = await upstream(t)
    const load = ['--peak', '500', '--response-time', '2000', '--interval', '4000']
    return said(['doctor', url, '--ca', 'company.pem', ...load], { cwd })
  },
  'doctor-untrusted': async (t) => {
    const { cwd, url } = await upstream(t)
    return said(['doctor', url], { cwd })
  },
  bench: () => said(['bench', '--mock']),
  batch: async (t) => {
    const { cwd } = await upstream(t)
    const { upstream: mock } = await start(t)
    const file = ids(1000).map((id) => request(id, { model: 'gpt-4o' }))
    write(join(cwd, 'requests.jsonl'), [...file, 'no request', request('id-16')])
    const provider = { baseURL: `${mock.url}/v1`, apiKey: 'k' }
    const options = { providers: { main: provider }, pricing: { 'main/gpt-4o': 'gpt-4o' } }
    writeFileSync(join(cwd, 'trunkline.json'), JSON.stringify(options))
    const args = ['batch', 'requests.jsonl', '-o', 'answers.jsonl', '--config', 'trunkline.json']
    const { out, err } = await trunkline(args, { env: { COLUMNS: '100' }, cwd })
    return { command: args.join(' '), out: err + out }
  },
  mock: async () => {
    const mock = begin(['mock', '--port', '0'])
    const [url] = await until(() => /https?:\/\/127\.0\.0\.1:\d+/.exec(mock.said()))
    await (await fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(REQUEST) })).text()
    await until(() => mock.said().includes('POST'))
    mock.child.kill('SIGINT')
    const { out } = await mock.ended
    return { command: 'mock --port 8443', out }
  },
  size: () => said(['size', '--peak', '50', '--response-time', '2000', '--interval', '4000']),
  'costs-state': async (t) => {
    const { cwd } = await upstream(t)
    const budget = { limit: 100, window: 'day', perTenant: 50, state: join(cwd, 'budget.log') }
    const { upstream: mock, line } = await start(t, { pricing: { 'gpt-test': 'gpt-4o' }, budget })
    mock.reply({}, { content: 'hi', usage: { prompt_tokens: 120_000, completion_tokens: 4000, total_tokens: 124_000 } })
    for (const tenant of ['acme', 'acme', 'zeta']) await line.chat(REQUEST, { tenant })
    await line.close()
    return said(['costs', 'budget.log'], { cwd })
  },
  'costs-prices': () => said(['costs', '--prices', 'gpt-4o']),
  'costs-estimate': () =>
    said(['costs', '--model', 'gpt-4o', '--requests', '10000', '--input-tokens', '1200', '--output-tokens', '300']),
}

/** What says the same wherever and whenever it runs. */
const exact = ['size', 'costs-prices', 'costs-estimate']

async function said(args, options) {
  const { out, err } = await trunkline(args, { env: { COLUMNS: '100' }, ...options })
  assert.equal(err, '')
  return { command: args.join(' '), out }
}

/** Times, dates and addresses are those of one run, and with them where lines break. */
function shape(text) {
  const numbers = text.replace(/\d[\d.,:T_-]*/g, '0').replace(/\b0 (ms|s|min)\b/g, '0 ms')
  return numbers.replace(/\s+/g, ' ').trim()
}

function block({ command, out }) {
  // One port for all, of as many digits as a reader expects.
  const text = `$ npx trunkline ${command}\n${out.trimEnd()}`.replace(/127\.0\.0\.1(:|, port )\d+/g, '127.0.0.1$18443')
  return `\`\`\`console\n${text}\n\`\`\``
}

for (const [name, run] of Object.entries(outputs)) {
  test(`docs/cli.md shows what the command says: ${name}`, async (t) => {
    const shown = block(await run(t))
    const text = readFileSync(page, 'utf8')
    const place = new RegExp(`(<!-- ${name} -->\n)(\`\`\`console\n[\\s\\S]*?\n\`\`\`)?`)
    if (process.env.DOCS === 'write')
      writeFileSync(
        page,
        text.replace(place, (_, mark) => mark + shown + (text.match(place)[2] ? '' : '\n')),
      )
    const [, , written = ''] = place.exec(readFileSync(page, 'utf8')) ?? []
    const same = exact.includes(name) ? (one) => one : shape
    assert.equal(same(written), same(shown), 'DOCS=write node --test __test__/cli/docs.test.mjs')
  })
}

test('docs/cli.md names every command', () => {
  const text = readFileSync(page, 'utf8')
  for (const name of ['doctor', 'bench', 'batch', 'mock', 'size', 'costs'])
    assert.match(text, new RegExp(`^## ${name}$`, 'm'))
})

// Runs blocks of the documentation one after the other in this process, against stand-ins on loopback. Reads units as JSON from a file, and writes a line of JSON for each.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire, register } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Trunkline } from '../../index.js'
import { MockUpstream } from '../../testing.js'
import { freePorts, proxy } from './surroundings.mjs'

const [file, folder] = process.argv.slice(2)
register(new URL('./resolve.mjs', import.meta.url))

const upstream = await MockUpstream.start()
const secure = await MockUpstream.start({ tls: true })
const tunnel = await proxy()
const ports = await freePorts([3000, 4400, 8080, 9464])

/** What documents name, and where it is here. */
const places = [
  ['http://proxy.example.com:3128', tunnel.url],
  ['http://user:password@proxy.example.com:3128', tunnel.url.replace('//', '//user:password@')],
  ['https://gateway.example.com', secure.url],
  [/rediss?:\/\/[^'"`\s]+/g, 'redis://127.0.0.1:1'],
  ['/var/lib/app/', `${mkdtempSync(join(tmpdir(), 'trunkline-docs-'))}/`],
  [/https?:\/\/[\w.-]+\.(com|cn|ai|example|azure\.com|internal)(?=[/'"`\s:])/g, upstream.url],
  [/http:\/\/localhost:(11434|8000|4000)/g, upstream.url],
  [/(?<=(listen\(|port: |127\.0\.0\.1:|localhost:))(3000|4400|8080|9464)\b/g, (port) => ports[port]],
]

Object.assign(process.env, {
  OPENAI_API_KEY: 'sk-docs',
  OPENAI_BASE_URL: `${upstream.url}/v1`,
  ANTHROPIC_API_KEY: 'sk-docs',
  ANTHROPIC_BASE_URL: upstream.url,
  GEMINI_API_KEY: 'sk-docs',
  GOOGLE_GEMINI_BASE_URL: upstream.url,
  AZURE_OPENAI_API_KEY: 'sk-docs',
})
const cwd = mkdtempSync(join(tmpdir(), 'trunkline-docs-'))
writeFileSync(join(cwd, 'company.pem'), secure.ca)
mkdirSync(join(cwd, 'node_modules'))
symlinkSync(fileURLToPath(new URL('../..', import.meta.url)), join(cwd, 'node_modules/trunkline'), 'junction')
process.chdir(cwd)
mkdirSync(folder, { recursive: true })

/** What a block may use without saying where it is from. */
const ambient = () => ({
  assert,
  upstream,
  secure,
  tunnel,
  Trunkline,
  MockUpstream,
  createServer,
  line: new Trunkline(),
  request: { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'What is a trunk line?' }] },
  messages: [{ role: 'user', content: 'What is a trunk line?' }],
  said: () => printed,
})

const write = process.stdout.write.bind(process.stdout)
const fetched = globalThis.fetch
let printed = ''
let failed

for (const stream of [process.stdout, process.stderr])
  stream.write = (text) => {
    printed += text
    return true
  }
for (const event of ['uncaughtException', 'unhandledRejection']) process.on(event, (error) => (failed ??= error))

for (const [at, unit] of JSON.parse(readFileSync(file, 'utf8')).entries()) {
  printed = ''
  failed = undefined
  for (const server of [upstream, secure]) server.reset()
  const given = ambient()
  Object.assign(globalThis, given)
  try {
    await limited(perform(unit, at))
    // What was left behind has a turn to fail in.
    await new Promise(setImmediate)
  } catch (error) {
    failed ??= error
  }
  globalThis.fetch = fetched
  await given.line.close({ drainTimeout: 0 })
  const error = failed && `${failed?.stack ?? failed}\n${failed?.cause ? `cause: ${failed.cause}` : ''}`
  // Told as a reader would see it.
  printed = printed.replace(/127\.0\.0\.1:\d{4,5}/g, 'api.openai.com').replaceAll(process.cwd(), '/app')
  write(`${JSON.stringify({ name: unit.name, error, printed })}\n`)
}
process.exit()

async function perform({ source, extension }, at) {
  let text = source
  for (const [what, where] of places) text = text.replaceAll(what, where)
  const path = join(folder, `${at}.${extension === 'cjs' ? 'cjs' : 'mjs'}`)
  writeFileSync(path, extension === 'cjs' ? `module.exports = (async () => {\n${text}\n})()\n` : text)
  if (extension === 'cjs') await createRequire(import.meta.url)(path)
  else await import(pathToFileURL(path).href)
}

async function limited(promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it has not ended after 20 s')), 20_000)
  })
  await Promise.race([promise, late])
  clearTimeout(timer)
}

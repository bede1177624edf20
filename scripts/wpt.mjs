// Holds `line.fetch` and Node's own fetch to the web platform tests, which are not of this repository.
//
//   npm run test:wpt -- CHECKOUT [--fetch trunkline|node|undici]… [--only PART_OF_A_PATH] [--python python3] [--verbose]
//
// CHECKOUT is one of https://github.com/web-platform-tests/wpt, whole or its folders common, fetch and resources; without its folder tools the
// server is taken from Python's package `wptserve`. All traffic is on loopback. Each file runs in a process of its own, once for each fetch.
// Ends with 1 where ours fails a case that Node's passes and that is not known (wpt/applies.mjs), or passes fewer.

import { execFileSync, fork, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { inapplicableCase, KNOWN } from './wpt/applies.mjs'
import { isOfEvents, plan } from './wpt/plan.mjs'

const beside = (name) => fileURLToPath(new URL(`wpt/${name}`, import.meta.url))

/** For a file of tests, and one that says that it takes long; the tests' own are 10 s and 60 s. */
const PATIENCE = 30_000
const LONG = 90_000
const AT_ONCE = 2

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    fetch: { type: 'string', multiple: true, default: ['node', 'trunkline'] },
    only: { type: 'string', default: '' },
    python: { type: 'string', default: process.env.PYTHON ?? 'python3' },
    verbose: { type: 'boolean', default: false },
  },
})
const checkout = positionals[0]
if (checkout === undefined || !existsSync(join(checkout, 'resources/testharness.js'))) {
  console.error('usage: npm run test:wpt -- CHECKOUT [--fetch trunkline|node|undici]… [--only PART_OF_A_PATH]')
  console.error('CHECKOUT: a directory with https://github.com/web-platform-tests/wpt in it')
  process.exit(2)
}

const folder = mkdtempSync(join(tmpdir(), 'trunkline-wpt-'))
const ca = join(folder, 'cert.pem')
let server
try {
  const key = join(folder, 'key.pem')
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  // A certificate of a server, which is its own root.
  names.push('-addext', 'basicConstraints=critical,CA:FALSE')
  const made = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', ca]
  execFileSync('openssl', ['req', ...made, ...names], { stdio: 'ignore' })
  server = spawn(options.python, [beside('serve.py'), checkout, key, ca], {
    stdio: ['pipe', 'pipe', options.verbose ? 'inherit' : 'ignore'],
  })
  const ports = await portsOf(server)
  process.exitCode = report(await runAll(ports))
} finally {
  server?.stdin.end()
  rmSync(folder, { recursive: true, force: true })
}

function portsOf(server) {
  return new Promise((resolve, reject) => {
    createInterface({ input: server.stdout }).once('line', (line) => resolve(JSON.parse(line)))
    server.once('exit', (code) => reject(new Error(`the tests' server ended with ${code}: is wptserve installed?`)))
    server.once('error', reject)
  })
}

/** Every file by every fetch, some at once. */
async function runAll(ports) {
  const { files, left } = plan(checkout, options.only)
  const results = files.map((file) => ({ file, by: {} }))
  const jobs = results.flatMap((result) => fetchesOf(result.file).map((which) => ({ result, which })))
  const worker = async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      job.result.by[job.which] = await run(job.result.file, job.which, ports)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return { results, left }
}

function fetchesOf({ path }) {
  return options.fetch.filter((which) => which === 'trunkline' || !isOfEvents(path))
}

/** One file in a process of its own. */
function run({ url, kind, scripts, isLong }, which, ports) {
  const origin = kind === 'http' ? `http://localhost:${ports.http[0]}` : `https://localhost:${ports[kind][0]}`
  // The sources come over plain HTTP, whatever the tests ask.
  const from = (script) =>
    script.path === undefined ? script : { url: `http://localhost:${ports.http[0]}${script.path}` }
  const asked = { url: `${origin}${url}`, scripts: scripts.map(from), fetch: which, ca }
  return new Promise((resolve) => {
    const child = fork(beside('case.mjs'), [JSON.stringify(asked)], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: ca, NO_COLOR: '1' },
      stdio: ['ignore', 'ignore', options.verbose ? 'inherit' : 'ignore', 'ipc'],
    })
    const cases = []
    let ended
    const timer = setTimeout(
      () => {
        ended ??= { message: 'took too long' }
        child.kill('SIGKILL')
      },
      isLong ? LONG : PATIENCE,
    )
    child.on('message', (message) => {
      if (message.case) cases.push(message.case)
      else ended = { message: message.status === 0 ? null : (message.message ?? message.stray ?? 'failed') }
    })
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      ended ??= { message: `ended with ${signal ?? code}` }
      resolve({ cases, message: ended.message })
    })
  })
}

/** What became of each case that applies, by each fetch. */
function casesOf({ results }) {
  return results.flatMap(({ file, by }) => {
    const names = new Set(Object.values(by).flatMap(({ cases }) => cases.map(({ name }) => name)))
    return [...names].map((name) => {
      const by_ = Object.entries(by).map(([which, { cases }]) => [which, cases.find((one) => one.name === name)])
      return {
        path: file.path,
        fetches: file.fetches,
        name,
        why: inapplicableCase(file.path, name),
        by: Object.fromEntries(by_),
      }
    })
  })
}

/** The tables, and what the process ends with. */
function report(run) {
  const cases = casesOf(run)
  const all = cases.filter(({ why }) => why === undefined)
  const [events, applying] = [true, false].map((are) => all.filter(({ path }) => isOfEvents(path) === are))
  for (const { file, by } of run.results) {
    const own = all.filter(({ path }) => path === file.path)
    const counts = fetchesOf(file).map((which) => `${which} ${passing(own, which).length}`)
    console.log(`${file.path}: ${own.length} cases, ${counts.join(', ')}`)
    for (const [which, { message }] of Object.entries(by)) {
      if (message) console.log(`    ${which}: ${message.split('\n').slice(0, 3).join(' | ')}`)
    }
  }
  const isKnown = ({ path, name }) => KNOWN.find(([files, names]) => files.test(path) && names.test(name))?.[2]
  const ours = (one) => one.by.trunkline?.passed === true
  const nodes = (one) => one.by.node?.passed === true
  const compares = options.fetch.includes('node') && options.fetch.includes('trunkline')
  const worse = applying.filter((one) => nodes(one) && !ours(one))
  if (compares) {
    list(
      'Passed by ours alone',
      applying.filter((one) => ours(one) && !nodes(one)),
    )
    list('Passed by Node’s alone', worse, isKnown)
  }
  list(
    'Passed by none',
    all.filter((one) => !Object.values(one.by).some((told) => told?.passed)),
  )
  console.log('\nNot for a fetch on a server')
  for (const [reason, count] of reasons(run.left, cases)) console.log(`  ${reason}: ${count}`)
  const calling = applying.filter(({ fetches }) => fetches)
  console.log(`\n${applying.length} cases apply; ${calling.length} are of files that call fetch`)
  for (const which of options.fetch) {
    console.log(`${which}: ${passing(applying, which).length} passed; ${passing(calling, which).length}`)
  }
  const read = passing(events, 'trunkline').length
  if (options.fetch.includes('trunkline')) console.log(`events: ${events.length} cases, ${read} passed`)
  if (!compares) return passing(applying, options.fetch[0]).length < applying.length ? 1 : 0
  const isBehind = passing(applying, 'trunkline').length < passing(applying, 'node').length || read < events.length
  return isBehind || worse.some((one) => isKnown(one) === undefined) ? 1 : 0
}

function passing(cases, which) {
  return cases.filter(({ by }) => by[which]?.passed)
}

function list(title, cases, note = () => undefined) {
  console.log(`\n${title}: ${cases.length}`)
  for (const one of cases) {
    const reason = note(one)
    console.log(`  ${one.path}: ${one.name}${reason === undefined ? '' : ` (${reason})`}`)
    for (const [which, told] of Object.entries(one.by)) {
      if (!told?.passed) console.log(`      ${which}: ${told?.message ?? 'not run'}`)
    }
  }
}

/** How many files and cases each reason leaves out. */
function reasons(files, cases) {
  const counts = new Map()
  const add = (reason, what) => {
    const count = counts.get(reason) ?? { files: 0, cases: 0 }
    count[what]++
    counts.set(reason, count)
  }
  for (const { reason } of files) add(reason, 'files')
  for (const { why } of cases) if (why !== undefined) add(why, 'cases')
  return [...counts].map(([reason, { files, cases }]) => [reason, `${files} files, ${cases} cases`])
}

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { MockUpstream } from 'trunkline/testing'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs node in a child process; what it said, and how it ended. The environment names no provider, unless `env` does. */
function run(args, env = {}) {
  const provider = /^(TRUNKLINE|OPENAI|ANTHROPIC|GEMINI|GOOGLE_GEMINI)_/
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !provider.test(name)))
  // A child of the test runner would report to it.
  delete clean.NODE_TEST_CONTEXT
  return new Promise((resolve) =>
    execFile(process.execPath, args, { cwd: root, env: { ...clean, ...env }, timeout: 60_000 }, (error, out, err) =>
      resolve({ code: error ? (error.code ?? error.signal) : 0, out, err }),
    ),
  )
}

/** What each example says when it runs as it should. */
const examples = {
  'quick-start.mjs': [
    /^chat: \S/m,
    /over the same connection/,
    /^stream: \S/m,
    /3 calls, 1 connection opened, 2 times used again/,
  ],
  'stream-to-http.mjs': [
    /server: answered to the end\nclient: \d\d+ pieces/,
    /server: the client left, and the stream was cancelled/,
    /1 stream read to its end, 1 cancelled/,
  ],
  'batch-with-progress.mjs': [/10 of 10 done, 1 failed/, /copper: \(ERR_NOT_FOUND\)/, /^station: \S/m],
  'batch-file.mjs': [
    /^stopped: ten or more of 42$/m,
    /^done: 40 answered, 2 failed, 0 paid twice$/m,
    /^line 41: is no JSON object/m,
    /^line 42: has the custom_id of line 1;/m,
    /^40 lines of answers, 2 of failures\nid, custom_id, response, error$/m,
  ],
  'own-queue.mjs': [/^30 answers, 0 messages left, 3 came again$/m],
  'abort.mjs': [
    /after 50 ms: TimeoutError/,
    /(together: the window was closed\n){3}/,
    /enough: /,
    /5 calls were cancelled/,
  ],
  'fall-back.mjs': [
    /^up: main\/gpt-4o, 1 attempts$/m,
    /^failover: from main\/gpt-4o to spare\/claude-sonnet-4-5, ERR_INTERNAL_SERVER$/m,
    /^down, a stream: spare\/claude-sonnet-4-5, 3 attempts$/m,
    /^circuit: main\/gpt-4o is open$/m,
    /^down, with an open circuit: spare\/claude-sonnet-4-5, 1 attempts$/m,
    /^6 calls answered, 3 times/m,
  ],
  'costs.mjs': [
    /^fast: 1250 tokens, \$0\.000345\nsmart: 1250 tokens, \$0\.007950$/m,
    /^event: zeta has spent 0\.0\d+ of 0\.05, 50 %$/m,
    /^refused, and nothing sent: the budget of \$0\.\d+ a day for the tenant 'zeta' does not suffice: /m,
    /^\$0\.\d+ in this day$/m,
    /^ {2}smart +\$0\.\d+ +\d requests/m,
    /^budget of the tenant zeta: /m,
    /^ {2}handshakes +\d/m,
  ],
  'dashboard.mjs': [
    /^dashboard: http:\/\/127\.0\.0\.1:\d+\/$/m,
    /^what did it cost: \$\d+\.\d\d today, for \d+ calls$/m,
    /^why was it slow: \S+ took \d+ ms, \d+ ms of it until the first byte$/m,
    /^what would a larger pool change: \S/m,
  ],
  'prometheus.mjs': [
    /^trunkline_requests_total\{service="example",provider="default",model="fast",status="200",error=""\} 3$/m,
    /^trunkline_cost_dollars_total\{service="example",provider="default",model="fast"\} 0\.0\d+$/m,
    /^trunkline_pool_connections_reused_total\{service="example",pool="1"\} 2$/m,
    /^in one registry:\nvisitors_total 1\ntrunkline_requests_total\{.*\} 3$/m,
  ],
  'keys.mjs': [
    /^10 questions answered; 1 time a key was limited/m,
    /^sk-one: 10 requests, sk-two: 1 requests$/m,
    /^after rotateKey: Bearer sk-new, over 1 connection$/m,
    /it was asked for again 1 time$/m,
  ],
  'observe.mjs': [
    /^hook: attempt 2 goes out for ada$/m,
    /^channel: attempt 1 of call-1 for ada came to 503$/m,
    /^hook: 2 attempts, good$/m,
    /^log: debug call: answered$/m,
    /^upstream: the header said ada$/m,
  ],
  'selection.mjs': [
    /^small-1 {2}What is/m,
    /^small-1 {2}Thanks/m,
    /^medium-1 Compare/m,
    /^large-1 {2}Why/m,
    /^large-1 {2}Prove/m,
  ],
  'recover.mjs': [
    /^none: interrupted after "… .*(thirteen|fourteen|fifteen)"$/m,
    /^restart: "one two three …" is void\nrestart: the reader ends with the answer once: true$/m,
    /^final\(\): the answer is whole: true$/m,
  ],
  'cache.mjs': [
    /^10 calls at once: 1 request, shared by 9 others$/m,
    /^later: cached true, 0 attempts, 1 request$/m,
    /^a stream: (\d+) pieces, and \1 from memory$/m,
    /^temperature 1: 4 requests$/m,
    /^no-cache: 5 requests$/m,
    /^only-if-cached: ERR_NOT_CACHED, 5 requests$/m,
    /^2 of 16 calls from memory, 9 shared, 2 answers kept$/m,
  ],
  'protocols.mjs': [
    /^openai:\n {2}\/v1\/chat\/completions/m,
    /^anthropic:\n {2}\/v1\/messages/m,
    /^gemini:\n {2}\/v1beta\/models\/m:generateContent/m,
    /(the stream says what the chat says: true[\s\S]*){3}/,
    /(calls weather, tool_calls[\s\S]*){3}/,
    /has no words for: seed/,
  ],
  'cassette.mjs': [
    /^record: Hello, Ada! at attempt 2, Hello, Ada!\nrecord: 1 connections? opened\nthe key is in the file: false\nin the file: 429, 200, 200$/m,
    /^replay: Hello, Ada! at attempt 2, Hello, Ada!\nERR_CASSETTE_MISS: no recording of POST [\s\S]*\nreplay: 0 connections opened$/m,
  ],
  'under-an-sdk.mjs': [
    /^3 answers\na stream of \d+ pieces$/m,
    /^tried again by the SDK, as attempt 1$/m,
    /^refused: a RateLimitError of the SDK$/m,
    /^8 requests over 1 connection$/m,
  ],
  'workers.mjs': [/4 threads, 100 chats: 1 connection opened/],
}

for (const [name, says] of Object.entries(examples)) {
  test(`examples/${name} does what it shows, and ends`, async () => {
    const { code, out, err } = await run([`examples/${name}`])
    assert.equal(code, 0, err)
    assert.equal(err, '')
    for (const what of says) assert.match(out, what)
  })
}

test('examples/quick-start.mjs goes to the upstream of the environment when there is a key', async () => {
  const upstream = await MockUpstream.start()
  const env = { OPENAI_API_KEY: 'sk-environment', OPENAI_BASE_URL: `${upstream.url}/v1` }
  const { code, err } = await run(['examples/quick-start.mjs'], env)
  assert.equal(code, 0, err)
  assert.deepEqual(
    upstream.requests.map(({ headers }) => headers.authorization),
    Array(3).fill('Bearer sk-environment'),
  )
  await upstream.close()
})

test('examples/typescript.ts agrees with the typings', {
  skip: !existsSync(`${root}/index.d.ts`) && 'there is no index.d.ts',
}, async () => {
  const strict = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes']
  const how = ['--noEmit', '--module', 'nodenext', '--target', 'es2022', '--types', 'node', ...strict]
  const { code, out } = await run([
    'node_modules/typescript/bin/tsc',
    '--ignoreConfig',
    ...how,
    'examples/typescript.ts',
  ])
  assert.equal(code, 0, out)
})

const [major, minor] = process.versions.node.split('.').map(Number)
const strips = major > 22 || (major === 22 && minor >= 7)

// Not skipped where Node cannot: there its type check above is all that is promised.
if (strips) {
  test('examples/typescript.ts runs as it is', async () => {
    const { code, out, err } = await run(['--experimental-strip-types', '--no-warnings', 'examples/typescript.ts'])
    assert.equal(code, 0, err)
    assert.match(out, /^\d\d+ deltas$/m)
  })
}

test('the demo shows what a pool saves, and finds every answer right', async () => {
  const { code, out, err } = await run(['examples/demo/main.mjs', '--small'])
  assert.equal(code, 0, out + err)
  assert.match(out, /a new connection each: [\d.,]+ calls\/s, 40 connections opened/)
  assert.match(out, /pool, HTTP\/2: [\d.,]+ calls\/s, 1 connections? opened/)
  assert.match(out, /a fault: a reset: answered at attempt 2/)
  assert.match(out, /p50 ms +p99 ms +connections/)
  assert.match(out, /Every answer was right\.\n$/)
})

test('the demo makes a few calls to the real thing when the environment names one', async () => {
  const upstream = await MockUpstream.start()
  const env = { OPENAI_API_KEY: 'sk-environment', OPENAI_BASE_URL: `${upstream.url}/v1`, TRUNKLINE_DEMO_MODEL: 'gpt-x' }
  const { code, out, err } = await run(['examples/demo/main.mjs'], env)
  assert.equal(code, 0, err)
  assert.match(out, /Against the real upstream of your environment, with gpt-x: 3 chats and 1 stream\./)
  assert.deepEqual(
    upstream.requests.map(({ body }) => [body.model, body.stream ?? false]),
    [...Array(3).fill(['gpt-x', false]), ['gpt-x', true]],
  )
  await upstream.close()
})

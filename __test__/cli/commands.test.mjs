// What holds of every command: help, wrong use, ends, colours.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, posix } from 'node:path'
import test from 'node:test'
import { root } from '../support.mjs'
import { begin, json, trunkline, without } from './run.mjs'

const COMMANDS = ['doctor', 'bench', 'mock', 'size', 'costs']
const ESCAPE = '\u001b['

test('--version is that of the package, and --help names every command', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.deepEqual(await trunkline(['--version']), { code: 0, out: `${version}\n`, err: '' })
  const { code, out, err } = await trunkline(['--help'])
  assert.deepEqual([code, err], [0, ''])
  for (const name of COMMANDS) assert.match(out, new RegExp(`^ {2}${name} `, 'm'))
})

for (const name of COMMANDS) {
  test(`${name} --help says its use, options, an example and its ends, in 80 columns but for examples`, async () => {
    const { code, out, err } = await trunkline([name, '--help'])
    assert.deepEqual([code, err], [0, ''])
    assert.match(out, new RegExp(`^trunkline ${name}`))
    for (const part of [
      /^Options$/m,
      /^ {2}--json /m,
      /^For example\n {2}npx trunkline /m,
      /^ {2}2 {2}it was asked/m,
    ]) {
      assert.match(out, part)
    }
    const wide = out.split('\n').filter((line) => line.length > 80 && !/^ {2}npx /.test(line))
    assert.deepEqual(wide, [])
    assert.equal((await trunkline(['help', name])).out, out)
  })
}

test('what is asked for wrongly ends with 2, on standard error, with what was meant', async () => {
  const wrong = [
    [[], /trunkline COMMAND/],
    [['docter'], /no command 'docter'\. Did you mean 'doctor'\?/],
    [['xyzzy'], /no command 'xyzzy'\.$/m],
    [['bench', '--reqests', '5'], /no option '--reqests'\. Did you mean '--requests'\?/],
    [['bench'], /one of URL and --mock is needed/],
    [['bench', '--mock', '--requests', 'many'], /--requests: must be a whole number from 1 to 1000000, got 'many'/],
    [['bench', '--mock', '--requests', '0'], /--requests: must be/],
    [['doctor'], /something is missing: trunkline doctor URL/],
    [['doctor', 'ftp://x'], /must begin with https/],
    [['doctor', 'http://x', 'y'], /'y' is one argument too many/],
    [['doctor', 'http://x', '--h1', '--h2'], /--h1 and --h2: give one/],
    [['doctor', 'http://x', '--peak', '5'], /--peak, --response-time and --interval belong together/],
    [['size', '--peak', '5'], /belong together/],
    [['size'], /are needed, or --preset/],
    [['size', '--preset', 'huge'], /--preset: must be one of cli, backend/],
    [['size', '--peak', '9e6', '--response-time', '9e6', '--interval', '1'], /would need/],
    [['costs'], /one of FILE, --prices and --model is needed/],
    [['costs', '--model', 'gpt-4o', '--requests', '1', '--input-tokens', '1'], /--output-tokens is needed/],
    [['mock', '--ca-out', 'x'], /--ca-out: only with --tls/],
  ]
  for (const [args, says] of wrong) {
    const { code, out, err } = await trunkline(args)
    assert.deepEqual([code, out], [2, ''], `${args.join(' ')}: ${err}`)
    assert.match(err, says)
  }
})

test('a key that was put into the URL, or in the place of a variable, is not printed', async () => {
  for (const args of [
    ['doctor', 'https://user:sk-secret-1@example.com/'],
    ['doctor', 'https://example.com/?key=sk-secret-1'],
    ['doctor', 'https://example.com/', '--key-env', 'sk-secret-1'],
  ]) {
    const { code, out, err } = await trunkline(args)
    assert.equal(code, 2)
    assert.doesNotMatch(out + err, /sk-secret/)
  }
})

test('there are colours where FORCE_COLOR asks for them, and none in a pipe or with NO_COLOR', async () => {
  const args = ['size', '--peak', '5', '--response-time', '10', '--interval', '10']
  const coloured = async (env) => (await trunkline(args, { env })).out.includes(ESCAPE)
  assert.equal(await coloured({}), false)
  assert.equal(await coloured({ FORCE_COLOR: '1' }), true)
  assert.equal(await coloured({ FORCE_COLOR: '0' }), false)
  assert.equal(await coloured({ NO_COLOR: '1' }), false)
  assert.equal((await trunkline([...args, '--json'], { env: { FORCE_COLOR: '1' } })).out.includes(ESCAPE), false)
})

test('there are colours on a terminal, but with NO_COLOR or a dumb one', { skip: without('script') }, async () => {
  const line = `${process.execPath} ${join(root, 'bin/trunkline.js')} --help`
  const coloured = async (env) => {
    const options = { command: 'script', before: [], env: { TERM: 'xterm', ...env } }
    const { code, out } = await begin(['-qec', line, '/dev/null'], options).ended
    assert.equal(code, 0, out)
    assert.match(out, /doctor/)
    return out.includes(ESCAPE)
  }
  assert.equal(await coloured({}), true)
  assert.equal(await coloured({ NO_COLOR: '1' }), false)
  assert.equal(await coloured({ TERM: 'dumb' }), false)
})

test('lines are as wide as COLUMNS says, from 40 to 100', async () => {
  const widest = async (COLUMNS) => {
    const { out } = await trunkline(['doctor', '--help'], { env: { COLUMNS } })
    return Math.max(
      ...out
        .split('\n')
        .filter((line) => !/npx|^ {6}/.test(line))
        .map((line) => line.length),
    )
  }
  assert.ok((await widest('60')) <= 60)
  assert.ok((await widest('500')) <= 100)
  assert.ok((await widest('500')) > 80)
})

test('size: Little and a tenth, for HTTP/1.1 and HTTP/2', async () => {
  const { code, data } = await json(['size', '--peak', '50', '--response-time', '2000', '--interval', '1000'])
  assert.equal(code, 0)
  assert.deepEqual(data.pool, { maxConnections: 110, maxIdleConnections: 55, maxConnectionsPerOrigin: 110 })
  assert.deepEqual([data.callsPerSecond, data.callsAtOnce], [50, 100])
  assert.deepEqual(data.http2, { streamsPerConnection: 100, connections: 2 })
})

test('size: a preset is what the package has under that name', async () => {
  const { presets } = await import('trunkline')
  assert.deepEqual((await json(['size', '--preset', 'batch'])).data, presets.batch)
  assert.deepEqual((await json(['size', '--presets'])).data, presets)
})

test('the commands are in the package as it is published', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-cli-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const npm = (...args) => execFileSync('npm', args, { cwd: folder, stdio: 'pipe', encoding: 'utf8' })
  // Into a folder of its own: other tests pack too.
  const [{ filename }] = Object.values(
    JSON.parse(npm('pack', root, '--json', '--ignore-scripts', '--pack-destination', folder)),
  )
  const file = join(folder, filename)
  npm('init', '-y')
  npm('install', '--no-audit', '--no-fund', '--ignore-scripts', '--offline', file)
  const npx = (...args) =>
    begin(['--no-install', 'trunkline', ...args], { command: 'npx', before: [], cwd: folder }).ended
  const prices = await npx('costs', '--prices', 'gpt-4o')
  assert.equal(prices.code, 0, prices.err)
  assert.match(prices.out, /gpt-4o +openai/)
  const bench = await npx('bench', '--mock', '--requests', '4', '--json')
  assert.equal(bench.code, 0, bench.err)
  assert.equal(JSON.parse(bench.out).single.handshakes, 4)
  assert.equal((await npx('docter')).code, 2)
})

test('each relative link of the README and of docs/ leads to a file of the repository, where npm looks for it too', () => {
  const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  const files = tracked.split('\n')
  const pages = files.filter((path) => path === 'README.md' || /^docs\/.*\.md$/.test(path))
  assert.ok(pages.length > 10)
  for (const page of pages) {
    const links = readFileSync(join(root, page), 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)
    for (const [, link] of links) {
      const target = posix.join(posix.dirname(page), link)
      assert.ok(
        files.some((path) => path === target || path.startsWith(`${target}/`)),
        `${page}: ${link}`,
      )
    }
  }
})

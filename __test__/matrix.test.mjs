// The packed package in empty projects: what runs where. Here in this Node; with `MATRIX=all`, and in CI, in every runtime and under
// every tool of `matrix/cases.mjs`; with `MATRIX=write` the tables in the docs are written anew.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import test, { describe } from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { program, runtimes, scripts, server, suites, tools, toolsNode } from './matrix/cases.mjs'
import { pack, project } from './matrix/project.mjs'
import { OWN, tablesOf, writeTables, writtenTables } from './matrix/table.mjs'
import { root, until } from './support.mjs'

const all = process.env.CI || process.env.MATRIX
const seen = new Map()

/** Ends well, with nothing said that should not be. */
function ended({ code, all }, expected) {
  assert.equal(code, expected.code ?? 0, all)
  if (expected.not) assert.doesNotMatch(all, expected.not)
}

/** A project, and that of the runtimes. Where there is no registry: skipped, loudly; in CI a failure. */
async function projectFor(t, name) {
  try {
    if (all) await program(toolsNode)
    return await project(name)
  } catch (error) {
    if (process.env.CI) throw error
    t.skip(`it cannot be installed: ${error.message}`)
  }
}

/** Runs a script in a runtime. `where`: undefined for the Node that runs this test. */
async function runs(t, { file, test, says, code = 0 }, where) {
  const made = await projectFor(t, 'scripts')
  if (!made) return
  const command = where ? await program(where) : process.execPath
  const flags = where ? (test ? where.test : where.script) : test ? ['--test'] : []
  const result = await made.run(command, [...flags, file])
  ended(result, { code })
  assert.match(test || code !== 0 ? result.all || 'nothing' : result.stdout, says)
  if (!test && code === 0) assert.equal(result.stderr, '')
}

if (!all) {
  describe('in this Node, installed from its package', { concurrency: 2 }, () => {
    const major = process.versions.node.split('.')[0]
    for (const script of scripts) {
      if (script.file === 'terminate.mjs') continue
      // A Node of the list does what is listed for it; any other, what all do.
      test(script.what, (t) => runs(t, { ...script, ...script.except?.[`node-${major}`] }))
    }
  })
}

if (all) {
  describe('in every runtime', { concurrency: 2 }, () => {
    for (const where of runtimes) {
      for (const script of scripts) {
        if (script.omit?.includes(where.id)) continue
        const exception = script.except?.[where.id]
        test(`${where.name}: ${script.what}${exception ? ` (it does not: ${exception.why})` : ''}`, async (t) => {
          await runs(t, { ...script, ...exception }, where)
          seen.set(`${script.what} | ${where.name}`, exception?.why ?? true)
        })
      }
      if (!where.id.startsWith('node')) continue
      test(`${where.name}: ${OWN.what}`, async (t) => {
        const made = await projectFor(t, 'scripts')
        if (!made) return
        const files = suites.map((name) => join('__test__', `${name}.test.mjs`))
        const flags = ['--test', '--test-reporter=spec', '--expose-gc', '--test-concurrency=1']
        const result = await made.run(await program(where), [...flags, ...files], { cwd: root, limit: 300_000 })
        ended(result, {})
        assert.match(result.stdout, /^ℹ pass [1-9]/m)
        assert.match(result.stdout, /^ℹ skipped 0$/m)
        seen.set(`${OWN.what} | ${where.name}`, true)
      })
    }
  })

  describe('under tools', () => {
    for (const { what, project: name, steps, flags = [], env, why, ...expected } of tools) {
      test(`${what}${why ? ` (it does not: ${why})` : ''}`, async (t) => {
        const made = await projectFor(t, name)
        if (!made) return
        const node = await program(toolsNode)
        let result
        for (const [tool, ...options] of steps) {
          if (result) ended(result, {})
          const path = tool.startsWith('./') ? tool : join('node_modules', tool)
          const given = await Promise.all(
            options.map(async (word) => (word === 'TARBALL' ? (await pack()).file : word)),
          )
          result = await made.run(node, [...flags, path, ...given], { env, limit: 300_000 })
        }
        ended(result, expected)
        assert.match(result.all, expected.says)
        seen.set(`${what} | ${toolsNode.name}`, why ?? true)
      })
    }

    test(server.what, async (t) => {
      const made = await projectFor(t, server.project)
      if (!made) return
      const node = await program(toolsNode)
      ended(await made.run(node, ['node_modules/next/dist/bin/next', 'build'], { limit: 300_000 }), {})
      const upstream = await MockUpstream.start({ tokensPerSecond: 100 })
      t.after(() => upstream.close())
      upstream.reply({ model: 'm' }, 'one two three')
      const url = await served(t, node, join(made.folder, '.next/standalone/server.js'), upstream)

      const ask = () => fetch(`${url}/api/chat`, { method: 'POST', body: JSON.stringify({ messages: [] }) })
      const lines = (await (await ask()).text())
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      const text = lines.map(({ choices }) => choices[0]?.delta.content ?? '').join('')
      assert.equal(text, 'one two three')

      upstream.reply({ model: 'm' }, 'and so on '.repeat(10_000))
      const reader = (await ask()).body.getReader()
      assert.equal((await reader.read()).done, false)
      await reader.cancel()
      await until(() => upstream.connections.open === 0, 'who leaves ends the stream of the upstream')
      seen.set(`${server.what} | ${toolsNode.name}`, true)
    })
  })

  test('the tables in the docs say what was seen', () => {
    const tables = tablesOf(seen)
    if (process.env.MATRIX === 'write') writeTables(tables)
    else assert.equal(writtenTables(), tables, 'npm run test:matrix -- --write')
  })
}

test('the tables in the docs are of the versions that are pinned', () => {
  const tables = writtenTables()
  for (const { name } of runtimes) assert.ok(tables.includes(`| ${name} |`), name)
  for (const { what } of [...scripts, ...tools, server]) assert.ok(tables.includes(`\n| ${what} |`), what)
})

/** Starts a server that Next has built, by itself in a process; its URL, as it says it. */
async function served(t, node, file, upstream) {
  const child = spawn(node, [file], {
    env: {
      ...process.env,
      TRUNKLINE_BASE_URL: `${upstream.url}/v1`,
      TRUNKLINE_API_KEY: 'k',
      HOSTNAME: '127.0.0.1',
      PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill())
  let said = ''
  child.stdout.on('data', (data) => (said += data))
  child.stderr.on('data', (data) => (said += data))
  const [, url] = await until(
    () => /(http:\/\/127\.0\.0\.1:\d+)/.exec(said),
    () => `the server says where it is: ${said}`,
  )
  return url
}

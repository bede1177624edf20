// Which peers are measured, in which Node, and what they weigh.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ownEnvironment } from '../../benchmark/child.mjs'
import { knownNodes, nodeOf } from '../../benchmark/nodes.mjs'
import { installedSize } from '../../benchmark/package.mjs'
import { peersOf } from '../../benchmark/peers.mjs'
import { root } from '../support.mjs'

const groups = join(root, 'benchmark/peers')
const read = (...path) => JSON.parse(readFileSync(join(groups, ...path), 'utf8'))

test('a Node is measured beside the newest peers that run on it', () => {
  const groupOf = { '20.20.2': 'node-20', '22.18.9': 'node-20', '22.19.0': 'node-22', '24.0.0': 'node-22' }
  for (const [node, group] of Object.entries(groupOf)) assert.equal(peersOf(node), group, node)
})

test('every group has the same peers, at versions that its lock file has too', () => {
  const names = readdirSync(groups)
  assert.deepEqual(names, ['node-20', 'node-22'])
  const [older, newer] = names.map((name) => read(name, 'package.json').dependencies)
  assert.deepEqual(Object.keys(older), Object.keys(newer))
  for (const name of names) {
    const { packages } = read(name, 'package-lock.json')
    for (const [peer, version] of Object.entries(read(name, 'package.json').dependencies)) {
      assert.equal(packages[`node_modules/${peer}`].version, version, `${name}: ${peer}`)
    }
    assert.deepEqual(
      Object.values(packages).filter(({ resolved }) => resolved),
      [],
      `${name}: a lock file that names a registry`,
    )
  }
})

test('the Node at hand is measured as it is, and others are those that the package is tested in', () => {
  assert.equal(nodeOf(undefined), process.execPath)
  assert.equal(nodeOf(process.versions.node.split('.')[0]), process.execPath)
  for (const [major, version] of Object.entries(knownNodes())) assert.ok(version.startsWith(`${major}.`), version)
  for (const major of ['20', '22', '24']) assert.ok(major in knownNodes(), major)
})

test('a package weighs what is installed for it: once, as Node finds it, and nothing that is not there', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-weigh-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const put = (path, manifest, bytes) => {
    const at = join(folder, ...path.split('/').flatMap((name) => ['node_modules', name]))
    mkdirSync(join(at, 'lib'), { recursive: true })
    const text = JSON.stringify(manifest)
    writeFileSync(join(at, 'package.json'), text)
    writeFileSync(join(at, 'lib/all.js'), 'x'.repeat(bytes))
    return text.length + bytes
  }
  const peers = { peerDependencies: { shared: '1', extra: '1' }, peerDependenciesMeta: { extra: { optional: true } } }
  const expected = [
    put('a', { dependencies: { b: '1', shared: '1' }, optionalDependencies: { 'for-another-platform': '1' } }, 1000),
    put('a/b', { dependencies: { a: '1' }, ...peers }, 200),
    put('shared', {}, 30),
  ]
  put('b', {}, 10_000)
  put('extra', {}, 20_000)
  assert.equal(
    installedSize(folder, ['a', 'shared']),
    expected.reduce((sum, size) => sum + size),
  )
})

test('a measured process knows of no proxy, key or option of whoever measures', () => {
  const before = { ...process.env }
  try {
    Object.assign(process.env, {
      HTTPS_PROXY: 'x',
      no_proxy: 'x',
      NODE_OPTIONS: '',
      OPENAI_BASE_URL: 'x',
      KEPT_AS_IT_IS: 'y',
    })
    const own = ownEnvironment()
    for (const name of ['HTTPS_PROXY', 'no_proxy', 'NODE_OPTIONS', 'OPENAI_BASE_URL']) assert.ok(!(name in own), name)
    assert.equal(own.KEPT_AS_IT_IS, 'y')
  } finally {
    process.env = before
  }
})

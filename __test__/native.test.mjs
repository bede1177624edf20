// What a user is told where the addon is not to be had. The package is laid out as an install leaves it, without its addon, and Node is told of another platform.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { fileOf, packageOf, targets } from '../scripts/release/targets.mjs'
import { root } from './support.mjs'

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
/** Of the machine that runs this. */
const here = targets.find(({ os, cpu, libc }) => {
  const musl = libc === 'musl'
  return os === process.platform && cpu === process.arch && musl === (process.platform === 'linux' && isMusl())
})

/** A project with the package and without an addon; `put` lays one of a platform beside it. */
function installed(t) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-native-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const modules = join(folder, 'node_modules')
  for (const path of ['package.json', 'index.js', 'lib']) {
    cpSync(join(root, path), join(modules, 'trunkline', path), { recursive: true })
  }
  const put = (target, { of = version, content = readFileSync(join(root, fileOf(here))) } = {}) => {
    const to = join(modules, packageOf(target))
    mkdirSync(to)
    writeFileSync(
      join(to, 'package.json'),
      JSON.stringify({ name: packageOf(target), version: of, main: fileOf(target) }),
    )
    writeFileSync(join(to, fileOf(target)), content)
  }
  return { folder, put }
}

/** What comes of a `require` there, on a platform of that name. */
function required(folder, { platform = process.platform, arch = process.arch } = {}) {
  const script = `
    for (const [name, value] of Object.entries(${JSON.stringify({ platform, arch })})) {
      Object.defineProperty(process, name, { value })
    }
    try {
      console.log(typeof require('trunkline').Trunkline)
    } catch (error) {
      console.log(JSON.stringify({ code: error.code, message: error.message, cause: error.cause?.code }))
    }`
  const said = execFileSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' }).trim()
  return said.startsWith('{') ? JSON.parse(said) : said
}

test('the addon of this platform is found in the package beside', (t) => {
  const { folder, put } = installed(t)
  put(here)
  assert.equal(required(folder), 'function')
})

for (const [platform, arch, named] of [
  ['freebsd', 'x64', 'freebsd x64'],
  ['linux', 'riscv64', 'linux riscv64'],
  ['win32', 'ia32', 'win32 ia32'],
]) {
  test(`where there is no build (${named}), the error names the platform, those that have one, and the way to build it`, (t) => {
    const { code, message } = required(installed(t).folder, { platform, arch })
    assert.equal(code, 'ERR_ADDON')
    assert.ok(message.startsWith(`trunkline has no build for ${named}`), message)
    assert.match(
      message,
      /There are builds for Linux \(glibc 2\.17 or newer, and musl\), macOS and Windows, each on x64 and arm64\./,
    )
    assert.match(message, /`npm run build && npm pack`/)
    assert.equal(/Node of 64 bits/.test(message), arch === 'ia32')
  })
}

for (const target of targets.filter(({ libc }) => libc === undefined)) {
  test(`where the addon for ${target.name} was left out, the error says so, and how to get it`, (t) => {
    const { code, message, cause } = required(installed(t).folder, { platform: target.os, arch: target.cpu })
    assert.equal(code, 'ERR_ADDON')
    assert.equal(cause, 'MODULE_NOT_FOUND')
    assert.ok(message.includes(`there is no package ${packageOf(target)}`), message)
    assert.ok(message.includes('--omit=optional'), message)
    assert.ok(message.includes(`\`npm install --os=${target.os} --cpu=${target.cpu} trunkline@${version}\``), message)
  })
}

test('node_modules of another platform are told as such', (t) => {
  const { folder, put } = installed(t)
  const other = targets.find(({ os }) => os !== process.platform)
  put(other)
  const { message } = required(folder)
  assert.ok(
    message.includes(`there is no package ${packageOf(here)}, but ${packageOf(other)}: node_modules was made on`),
    message,
  )
})

test('an addon of another version is refused, with both versions', (t) => {
  const { folder, put } = installed(t)
  put(here, { of: '99.0.0' })
  const { code, message } = required(folder)
  assert.equal(code, 'ERR_ADDON')
  assert.ok(message.startsWith(`trunkline ${version} found the addon of version 99.0.0 (${packageOf(here)})`), message)
})

test('an addon that the system does not load is told with what the system says', (t) => {
  const { folder, put } = installed(t)
  put(here, { content: 'not an addon' })
  const { code, message, cause } = required(folder)
  assert.equal(code, 'ERR_ADDON')
  assert.equal(cause, 'ERR_DLOPEN_FAILED')
  assert.match(message, /cannot be loaded: .+ install anew\.$/s)
})

test('a platform that no package is for can use an addon that was built there', (t) => {
  const { folder } = installed(t)
  const name = process.platform === 'linux' ? `linux-mips-${isMusl() ? 'musl' : 'gnu'}` : `${process.platform}-mips`
  cpSync(join(root, fileOf(here)), join(folder, `node_modules/trunkline/trunkline.${name}.node`))
  assert.equal(required(folder, { arch: 'mips' }), 'function')
})

test('each target has its place in the loader, in package.json and in the message', () => {
  const addons = readFileSync(join(root, 'lib/addons.js'), 'utf8')
  for (const target of targets) {
    for (const path of [`../${fileOf(target)}`, packageOf(target), `${packageOf(target)}/package.json`]) {
      assert.ok(addons.includes(`require('${path}')`), path)
    }
  }
  assert.equal(addons.match(/require\(/g).length, targets.length * 3)
  const { napi } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.deepEqual(
    napi.targets,
    targets.map(({ triple }) => triple),
  )
})

function isMusl() {
  return /musl/.test(spawnSync('ldd', ['--version'], { encoding: 'utf8' }).stderr ?? '')
}

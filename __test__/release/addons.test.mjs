// What an addon's file says of itself, and what is found wrong with it before it is published.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { factsOf, problemsIn } from '../../scripts/release/addon-file.mjs'
import { commandOf } from '../../scripts/release/build.mjs'
import { fileOf, targetOf, targets } from '../../scripts/release/targets.mjs'
import { root } from '../support.mjs'
import { addonFor, patched } from './addons.mjs'

const problems = (bytes, name) => problemsIn(factsOf(bytes), targetOf(name))

for (const target of targets) {
  test(`an addon for ${target.name} is known as one, and as one for nothing else`, () => {
    const facts = factsOf(addonFor(target))
    assert.deepEqual(problemsIn(facts, target), [])
    for (const other of targets) if (other !== target) assert.notDeepEqual(problemsIn(facts, other), [], other.name)
  })
}

test('glibc in a package for musl is found', () => {
  const found = problems(addonFor(targetOf('linux-x64-gnu')), 'linux-x64-musl')
  assert.deepEqual(found, ['it needs libc.so.6, which not every system has', 'it asks for glibc (GLIBC_2.2.5)'])
})

test('a glibc that is too new is found, by numbers and not by letters', () => {
  const bytes = addonFor(targetOf('linux-arm64-gnu'))
  assert.deepEqual(problems(bytes, 'linux-arm64-gnu'), [])
  assert.deepEqual(problems(patched(bytes, 'GLIBC_2.17', 'GLIBC_2.18'), 'linux-arm64-gnu'), [
    'it asks for GLIBC_2.18, newer than 2.17',
  ])
  assert.deepEqual(problems(patched(bytes, 'GLIBC_2.17', 'GLIBC_2.9\0'), 'linux-arm64-gnu'), [])
})

test('a library that systems do not have by themselves is found', () => {
  const linux = patched(addonFor(targetOf('linux-x64-gnu')), 'libc.so.6', 'libz.so.6')
  assert.deepEqual(problems(linux, 'linux-x64-gnu'), ['it needs libz.so.6, which not every system has'])
  const macos = patched(addonFor(targetOf('darwin-arm64')), '/usr/lib/libSystem.B.dylib', '/opt/brew/libssl.3.0.dylib')
  assert.deepEqual(problems(macos, 'darwin-arm64'), ['it needs /opt/brew/libssl.3.0.dylib, which not every system has'])
  const windows = patched(addonFor(targetOf('win32-arm64-msvc')), 'KERNEL32.dll', 'VCRUN140.dll')
  assert.deepEqual(problems(windows, 'win32-arm64-msvc'), ['it needs VCRUN140.dll, which not every system has'])
})

test('a library that is no addon of Node’s is found', () => {
  for (const name of ['linux-x64-musl', 'darwin-x64', 'win32-arm64-msvc']) {
    const bytes = patched(addonFor(targetOf(name)), 'napi_register_module_v1', 'napi_register_module_v9')
    assert.deepEqual(problems(bytes, name), ['it exports no napi_register_module_v1: it is no addon'])
  }
})

test('a macOS that is too new is found, and an addon for Apple silicon that is not signed', () => {
  const bytes = addonFor(targetOf('darwin-arm64'))
  // LC_BUILD_VERSION of 32 bytes for macOS, and LC_CODE_SIGNATURE of 16.
  const version = bytes.indexOf(Buffer.from([0x32, 0, 0, 0]), 32)
  const newer = Buffer.from(bytes)
  newer.writeUInt32LE(26 << 16, version + 12)
  assert.deepEqual(problems(newer, 'darwin-arm64'), ['it needs macOS 26.0, newer than 11.0'])
  const unsigned = Buffer.from(bytes)
  unsigned.writeUInt32LE(0x26, bytes.indexOf(Buffer.from([0x1d, 0, 0, 0, 16, 0, 0, 0]), 32))
  assert.deepEqual(problems(unsigned, 'darwin-arm64'), ['it is not signed, and Apple silicon loads nothing else'])
})

test('what is no file of a known kind is told as such, and one that is cut off ends in an error', () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from('no addon'), Buffer.alloc(100)]) {
    assert.throws(() => factsOf(bytes), /neither ELF, Mach-O .* nor PE/)
  }
  for (const target of targets) assert.throws(() => factsOf(addonFor(target).subarray(0, 200)), target.name)
})

test('the addon that is built here is read', () => {
  const target = targets.find((one) => existsSync(join(root, fileOf(one))))
  const facts = factsOf(readFileSync(join(root, fileOf(target))))
  assert.equal(facts.machine, target.machine)
  assert.ok(facts.exports.includes('napi_register_module_v1'))
})

test('the addon hands V8 no memory of its own, which Electron would refuse', {
  skip: process.platform !== 'linux',
}, () => {
  const target = targets.find((one) => existsSync(join(root, fileOf(one))))
  const facts = factsOf(readFileSync(join(root, fileOf(target))))
  assert.ok(facts.imports.includes('napi_create_arraybuffer'))
  assert.deepEqual(
    problemsIn(facts, target).filter((problem) => problem.includes('Electron')),
    [],
  )
  const imports = [...facts.imports, 'napi_create_external_arraybuffer']
  assert.ok(
    problemsIn({ ...facts, imports }, target).includes(
      'it calls napi_create_external_arraybuffer, which Electron refuses',
    ),
  )
})

test('Linux is linked by Zig against the oldest glibc, musl not into the addon, and Windows needs no redistributable', () => {
  const words = (name) => commandOf(targetOf(name)).args.join(' ')
  assert.match(words('linux-arm64-gnu'), /^zigbuild .*--locked .*--target aarch64-unknown-linux-gnu\.2\.17$/)
  assert.match(words('linux-x64-musl'), /^zigbuild .*--target x86_64-unknown-linux-musl$/)
  assert.match(words('darwin-arm64'), /^build .*--target aarch64-apple-darwin$/)
  const flags = (name) => Object.entries(commandOf(targetOf(name)).env)
  assert.deepEqual(flags('linux-x64-gnu'), [])
  assert.deepEqual(flags('linux-x64-musl'), [
    ['CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS', '-C target-feature=-crt-static'],
  ])
  assert.deepEqual(flags('win32-x64-msvc'), [
    ['CARGO_TARGET_X86_64_PC_WINDOWS_MSVC_RUSTFLAGS', '-C target-feature=+crt-static'],
  ])
  assert.deepEqual(flags('darwin-x64'), [['MACOSX_DEPLOYMENT_TARGET', '10.15']])
})

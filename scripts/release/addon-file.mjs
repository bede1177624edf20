// What an addon's file says of itself, read from its headers (ELF, Mach-O, PE) on any machine, and held against its target: the processor, the
// libraries that it asks the system for, how new these must be. `node scripts/release/addon-file.mjs NAME FILE` shows it.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readElf } from './elf.mjs'
import { readMachO } from './mach-o.mjs'
import { readPe } from './pe.mjs'
import { GLIBC, MACOS, targetOf } from './targets.mjs'

/** Node finds an addon by this name. */
const ENTRY = 'napi_register_module_v1'

/** Memory of ours as a buffer of V8's: Electron, whose V8 has a sandbox, refuses it. */
const NOT_IN_ELECTRON = /^(napi_create_external_(array)?buffer|node_api_create_external_sharedarraybuffer)$/

/** The libraries that each system has by itself, so that nothing but Node needs to be installed. */
const ALLOWED = {
  glibc: /^(lib(c|m)\.so\.6|lib(pthread|rt|util)\.so\.[01]|libdl\.so\.2|ld-linux-(x86-64\.so\.2|aarch64\.so\.1))$/,
  // musl answers to each of its names itself; libgcc_s comes with Node's own libstdc++ in Alpine.
  musl: /^(libc\.so|libc\.musl-(x86_64|aarch64)\.so\.1|libgcc_s\.so\.1)$/,
  darwin: /^\/(usr\/lib|System\/Library\/Frameworks)\//,
  // Neither the Visual C++ run-time library, which is not there by itself, nor another's.
  win32:
    /^(kernel32|ntdll|ws2_32|advapi32|bcrypt|bcryptprimitives|crypt32|secur32|userenv|user32|iphlpapi|ole32|oleaut32|psapi|shell32|synchronization|dbghelp|api-ms-win-[\w-]+|node)\.(dll|exe)$/i,
}

/** @typedef {{ format: string, machine: string, library: boolean, needed: string[], exports: string[], [more: string]: any }} Facts */

/** @param {Buffer} bytes @returns {Facts} */
export function factsOf(bytes) {
  for (const read of [readElf, readMachO, readPe]) {
    const facts = read(bytes)
    if (facts) return facts
  }
  throw new Error('it is neither ELF, Mach-O (64 bits, one processor) nor PE')
}

/** What is wrong with a file that should be a target's addon: none, if it may be published. @param {string} file */
export function problemsOf(file, target) {
  try {
    return problemsIn(factsOf(readFileSync(file)), target)
  } catch (error) {
    return [`cannot be read: ${error.message}`]
  }
}

/** @param {Facts} facts @param {import('./targets.mjs').Target} target */
export function problemsIn(facts, target) {
  const problems = []
  const wrong = (what, is, should) => problems.push(`${what} is ${is}, should be ${should}`)
  if (facts.format !== target.format) return [`the format is ${facts.format}, should be ${target.format}`]
  if (facts.machine !== target.machine) wrong('the processor', facts.machine, target.machine)
  if (!facts.library) problems.push('it is no library that can be loaded')
  const allowed = ALLOWED[target.libc ?? target.os]
  for (const name of facts.needed)
    if (!allowed.test(name)) problems.push(`it needs ${name}, which not every system has`)
  if (!facts.exports.includes(ENTRY)) problems.push(`it exports no ${ENTRY}: it is no addon`)

  if (facts.format === 'elf') {
    const { versions, imports, runPath, debug, executableStack } = facts
    const glibc = [...new Set(versions)].filter((version) => version.startsWith('GLIBC_'))
    if (target.libc === 'musl' && glibc.length > 0) problems.push(`it asks for glibc (${glibc.join(', ')})`)
    if (target.libc === 'glibc') {
      if (glibc.length === 0) problems.push('it asks for no glibc')
      for (const version of glibc) {
        if (isNewer(version.slice('GLIBC_'.length), GLIBC)) problems.push(`it asks for ${version}, newer than ${GLIBC}`)
      }
    }
    for (const name of imports)
      if (NOT_IN_ELECTRON.test(name)) problems.push(`it calls ${name}, which Electron refuses`)
    if (runPath) problems.push(`it looks for libraries in ${runPath}`)
    if (debug) problems.push('it has its debugging sections still')
    if (executableStack) problems.push('it wants a stack that can be executed')
  }
  if (facts.format === 'mach-o') {
    const most = MACOS[target.cpu]
    if (!facts.minimum) problems.push('it does not say which macOS it needs')
    else if (isNewer(facts.minimum, most)) problems.push(`it needs macOS ${facts.minimum}, newer than ${most}`)
    if (target.cpu === 'arm64' && !facts.signed) problems.push('it is not signed, and Apple silicon loads nothing else')
  }
  return problems
}

/** `a` is a newer version than `b`, number by number: 2.9 is not newer than 2.17. */
function isNewer(a, b) {
  const [as, bs] = [a, b].map((version) => version.split('.').map(Number))
  for (let at = 0; at < Math.max(as.length, bs.length); at++) {
    const difference = (as[at] ?? 0) - (bs[at] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return false
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, file] = process.argv.slice(2)
  const { exports, imports, ...facts } = factsOf(readFileSync(file))
  console.log(JSON.stringify({ ...facts, exports: exports.length, imports: imports?.length }, null, 2))
  const problems = problemsOf(file, targetOf(name))
  for (const problem of problems) console.error(`${file}: ${problem}`)
  process.exitCode = problems.length > 0 ? 1 : 0
}

// The load commands of a Mach-O file of 64 bits for one processor: <mach-o/loader.h> and <mach-o/nlist.h>.

const MAGIC = 0xfeedfacf
const MACHINES = { 16777223: 'x64', 16777228: 'arm64' }
const [DYLIB, BUNDLE] = [6, 8]
const [SYMTAB, LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB, CODE_SIGNATURE, VERSION_MIN, BUILD_VERSION] = [
  0x2, 0xc, 0x80000018, 0x8000001f, 0x1d, 0x24, 0x32,
]
const MACOS = 1
/** Of a symbol: for debuggers; visible; defined in a section. */
const [STAB, EXTERNAL, TYPE, SECTION] = [0xe0, 0x01, 0x0e, 0x0e]

/** @param {Buffer} bytes */
export function readMachO(bytes) {
  if (bytes.length < 32 || bytes.readUInt32LE(0) !== MAGIC) return undefined
  const facts = {
    format: 'mach-o',
    machine: MACHINES[bytes.readUInt32LE(4)] ?? `processor ${bytes.readUInt32LE(4)}`,
    library: [DYLIB, BUNDLE].includes(bytes.readUInt32LE(12)),
    needed: [],
    exports: [],
    minimum: undefined,
    signed: false,
  }
  for (let at = 32, left = bytes.readUInt32LE(16); left > 0; left--) {
    const command = bytes.readUInt32LE(at)
    const size = bytes.readUInt32LE(at + 4)
    if (size < 8) throw new Error('a load command has no length')
    switch (command) {
      case LOAD_DYLIB:
      case LOAD_WEAK_DYLIB:
      case REEXPORT_DYLIB:
        facts.needed.push(textAt(bytes, at + bytes.readUInt32LE(at + 8)))
        break
      case VERSION_MIN:
        facts.minimum = version(bytes.readUInt32LE(at + 8))
        break
      case BUILD_VERSION:
        if (bytes.readUInt32LE(at + 8) === MACOS) facts.minimum = version(bytes.readUInt32LE(at + 12))
        break
      case CODE_SIGNATURE:
        facts.signed = bytes.readUInt32LE(at + 12) > 0
        break
      case SYMTAB:
        facts.exports = exportsIn(bytes, at)
        break
    }
    at += size
  }
  return facts
}

/** Names begin with an underscore, which C does not see. */
function exportsIn(bytes, command) {
  const [symbols, count, names] = [8, 12, 16].map((offset) => bytes.readUInt32LE(command + offset))
  const found = []
  for (let at = symbols; at < symbols + count * 16; at += 16) {
    const type = bytes[at + 4]
    if ((type & STAB) !== 0 || (type & EXTERNAL) === 0 || (type & TYPE) !== SECTION) continue
    found.push(textAt(bytes, names + bytes.readUInt32LE(at)).replace(/^_/, ''))
  }
  return found
}

/** Sixteen bits, eight, eight; the last of no interest. */
function version(word) {
  return `${word >>> 16}.${(word >>> 8) & 0xff}`
}

function textAt(bytes, at) {
  return bytes.toString('latin1', at, bytes.indexOf(0, at))
}

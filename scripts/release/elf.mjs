// The headers of an ELF file of 64 bits: the System V ABI, chapters 4 and 5, and GNU's symbol versions (.gnu.version_r).

const MACHINES = { 62: 'x64', 183: 'arm64' }
const SHARED = 3
const [LOAD, DYNAMIC, GNU_STACK] = [1, 2, 0x6474e551]
const EXECUTE = 1
/** Tags of the dynamic section. */
const [NEEDED, STRTAB, SYMTAB, RPATH, RUNPATH, VERNEED, VERNEEDNUM] = [1n, 5n, 6n, 15n, 29n, 0x6ffffffen, 0x6fffffffn]
const SYMBOL = 24

/** @param {Buffer} bytes */
export function readElf(bytes) {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1) return undefined
  const segments = offsets(Number(bytes.readBigUInt64LE(32)), bytes.readUInt16LE(56), bytes.readUInt16LE(54)).map(
    (at) => ({
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      address: Number(bytes.readBigUInt64LE(at + 16)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
    }),
  )
  /** Where in the file that is which is at an address in memory. */
  const inFile = (address) => {
    const loaded = segments.find(
      ({ type, address: from, size }) => type === LOAD && address >= from && address < from + size,
    )
    if (!loaded) throw new Error(`no segment has the address ${address}`)
    return loaded.offset + address - loaded.address
  }

  const tags = dynamicOf(bytes, segments)
  const value = (tag) => tags.find(([of]) => of === tag)?.[1]
  const names = inFile(value(STRTAB) ?? 0)
  const text = (offset) => textAt(bytes, names + offset)
  const all = (tag) => tags.filter(([of]) => of === tag).map(([, offset]) => text(offset))
  const stack = segments.find(({ type }) => type === GNU_STACK)
  const symbols = symbolsIn(bytes, inFile(value(SYMTAB)), text)
  const named = (wanted) => symbols.filter(({ defined }) => defined === wanted).map(({ name }) => name)
  return {
    format: 'elf',
    machine: MACHINES[bytes.readUInt16LE(18)] ?? `machine ${bytes.readUInt16LE(18)}`,
    library: bytes.readUInt16LE(16) === SHARED,
    needed: all(NEEDED),
    versions: value(VERNEED) === undefined ? [] : versionsIn(bytes, inFile(value(VERNEED)), value(VERNEEDNUM), text),
    exports: named(true),
    imports: named(false),
    runPath: [...all(RPATH), ...all(RUNPATH)].join(':'),
    debug: sectionNames(bytes).some((name) => name.startsWith('.debug_') || name === '.symtab'),
    executableStack: stack === undefined || (stack.flags & EXECUTE) !== 0,
  }
}

/** @returns {[bigint, number][]} */
function dynamicOf(bytes, segments) {
  const dynamic = segments.find(({ type }) => type === DYNAMIC)
  if (!dynamic) throw new Error('it has no dynamic section')
  return offsets(dynamic.offset, dynamic.size / 16, 16).map((at) => [
    bytes.readBigInt64LE(at),
    Number(bytes.readBigUInt64LE(at + 8)),
  ])
}

/** `GLIBC_2.17` and the like, of each library that symbols are wanted from. */
function versionsIn(bytes, start, count, text) {
  const versions = []
  for (let file = start, left = count; left > 0; left--) {
    let entry = file + bytes.readUInt32LE(file + 8)
    for (let more = bytes.readUInt16LE(file + 2); more > 0; more--) {
      versions.push(text(bytes.readUInt32LE(entry + 8)))
      entry += bytes.readUInt32LE(entry + 12)
    }
    file += bytes.readUInt32LE(file + 12)
  }
  return versions
}

/** The symbols: their names, and whether they are defined here. Their number is told by the section's header. */
function symbolsIn(bytes, start, text) {
  const section = sections(bytes).find(({ offset }) => offset === start)
  if (!section) return []
  return offsets(start, section.size / SYMBOL, SYMBOL)
    .map((at) => ({ name: text(bytes.readUInt32LE(at)), defined: bytes.readUInt16LE(at + 6) !== 0 }))
    .filter(({ name }) => name !== '')
}

function sections(bytes) {
  const at = Number(bytes.readBigUInt64LE(40))
  return offsets(at, bytes.readUInt16LE(60), bytes.readUInt16LE(58)).map((header) => ({
    name: bytes.readUInt32LE(header),
    offset: Number(bytes.readBigUInt64LE(header + 24)),
    size: Number(bytes.readBigUInt64LE(header + 32)),
  }))
}

function sectionNames(bytes) {
  const all = sections(bytes)
  const names = all[bytes.readUInt16LE(62)]
  return names ? all.map(({ name }) => textAt(bytes, names.offset + name)) : []
}

/** Where each entry of a table begins. */
function offsets(start, count, size) {
  return Array.from({ length: count }, (_, at) => start + at * size)
}

function textAt(bytes, at) {
  return bytes.toString('latin1', at, bytes.indexOf(0, at))
}

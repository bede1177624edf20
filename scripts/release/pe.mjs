// The headers of a PE32+ file: Microsoft's "PE Format".

const MACHINES = { 34404: 'x64', 43620: 'arm64' }
const DLL = 0x2000
const PE32_PLUS = 0x20b
/** Places in the list of data directories. */
const [EXPORTS, IMPORTS, DELAYED] = [0, 1, 13]

/** @param {Buffer} bytes */
export function readPe(bytes) {
  if (bytes.length < 64 || bytes.toString('latin1', 0, 2) !== 'MZ') return undefined
  const header = bytes.readUInt32LE(60)
  if (bytes.toString('latin1', header, header + 4) !== 'PE\0\0') return undefined
  const optional = header + 24
  if (bytes.readUInt16LE(optional) !== PE32_PLUS) throw new Error('it is a PE file of 32 bits')
  const first = optional + bytes.readUInt16LE(header + 20)
  const sections = Array.from({ length: bytes.readUInt16LE(header + 6) }, (_, n) => first + n * 40).map((at) => ({
    address: bytes.readUInt32LE(at + 12),
    size: Math.max(bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 16)),
    offset: bytes.readUInt32LE(at + 20),
  }))
  /** Where in the file that is which is at an address in memory. */
  const inFile = (address) => {
    const section = sections.find(({ address: from, size }) => address >= from && address < from + size)
    if (!section) throw new Error(`no section has the address ${address}`)
    return section.offset + address - section.address
  }
  const count = bytes.readUInt32LE(optional + 108)
  const directory = (place) => (place < count ? bytes.readUInt32LE(optional + 112 + place * 8) : 0)
  const text = (address) => textAt(bytes, inFile(address))

  return {
    format: 'pe',
    machine: MACHINES[bytes.readUInt16LE(header + 4)] ?? `machine ${bytes.readUInt16LE(header + 4)}`,
    library: (bytes.readUInt16LE(header + 22) & DLL) !== 0,
    needed: [
      // Each entry with the address of the library's name at the offset that its table has it at.
      ...namesIn(bytes, directory(IMPORTS), { size: 20, name: 12 }, inFile, text),
      ...namesIn(bytes, directory(DELAYED), { size: 32, name: 4 }, inFile, text),
    ],
    exports: exportsIn(bytes, directory(EXPORTS), inFile, text),
  }
}

/** A table of libraries ends with an entry without a name. */
function namesIn(bytes, table, { size, name }, inFile, text) {
  const names = []
  if (table === 0) return names
  for (let at = inFile(table); bytes.readUInt32LE(at + name) !== 0; at += size) {
    names.push(text(bytes.readUInt32LE(at + name)))
  }
  return names
}

function exportsIn(bytes, table, inFile, text) {
  if (table === 0) return []
  const at = inFile(table)
  const names = bytes.readUInt32LE(at + 24) === 0 ? 0 : inFile(bytes.readUInt32LE(at + 32))
  return Array.from({ length: bytes.readUInt32LE(at + 24) }, (_, n) => text(bytes.readUInt32LE(names + n * 4)))
}

function textAt(bytes, at) {
  return bytes.toString('latin1', at, bytes.indexOf(0, at))
}

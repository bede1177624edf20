// Addons of a few kilobytes, one for each platform, made by real linkers from one function: `zig cc -target … -shared -s -O0`, of
//     __attribute__((visibility("default"))) void *napi_register_module_v1(void *env, void *exports) { free(strcpy(malloc(8), "addon")); return exports; }

import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

/** @param {{ name: string }} target @returns {Buffer} */
export function addonFor({ name }) {
  if (name === 'win32-x64-msvc') {
    // The same headers, but for the processor.
    const bytes = addonFor({ name: 'win32-arm64-msvc' })
    bytes.writeUInt16LE(0x8664, bytes.readUInt32LE(60) + 4)
    return bytes
  }
  return gunzipSync(readFileSync(new URL(`addons/${name}.node.gz`, import.meta.url)))
}

/** The bytes with one text in place of another as long. */
export function patched(bytes, from, to) {
  const text = bytes.toString('latin1')
  if (!text.includes(from) || from.length !== to.length) throw new Error(`${from} cannot become ${to}`)
  return Buffer.from(text.replaceAll(from, to), 'latin1')
}

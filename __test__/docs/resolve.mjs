// Where the packages are that the documentation imports: this one here, SDKs where their suites have them, and a reader's own files among the fixtures.

import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const fixtures = new URL('./fixtures/', import.meta.url)
const sdks = new URL('../sdk/', import.meta.url)
const root = fileURLToPath(new URL('../../', import.meta.url))

export async function resolve(specifier, context, next) {
  if (specifier.startsWith('./') && context.parentURL?.includes('/target/docs/'))
    return next(new URL(specifier.replace(/\.js$/, '.mjs'), fixtures).href, context)
  if (specifier === 'vitest') return next(new URL('vitest.mjs', fixtures).href, context)
  try {
    return await next(specifier, context)
  } catch (error) {
    if (/^[./]|:/.test(specifier)) throw error
    for (const parent of [sdks.href, pathToFileURL(join(root, 'package.json')).href]) {
      try {
        return await next(specifier, { ...context, parentURL: new URL('x.mjs', parent).href })
      } catch {
        // Not there either.
      }
    }
    throw error
  }
}

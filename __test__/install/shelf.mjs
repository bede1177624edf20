// A registry in a few lines: it has the tarballs of a folder, and nothing else. Enough for npm to install from; `verdaccio.mjs` is a whole one.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

/** @param {string[]} tarballs @returns {Promise<{ url: string, asked: string[], close(): Promise<void> }>} */
export async function shelf(tarballs) {
  const packages = new Map(
    tarballs.map((file) => {
      const manifest = JSON.parse(execFileSync('tar', ['-xzOf', file, 'package/package.json']).toString())
      return [manifest.name, { manifest, bytes: readFileSync(file) }]
    }),
  )
  const asked = []
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url.slice(1))
    asked.push(path)
    const [name, , file] = path.split('/')
    const found = packages.get(name)
    if (!found) return response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}')
    if (file) return response.end(found.bytes)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(document(found, `http://${request.headers.host}`)))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    asked,
    close: () => new Promise((resolve) => server.close(resolve)),
  }
}

function document({ manifest, bytes }, url) {
  const { name, version } = manifest
  const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`
  const dist = { tarball: `${url}/${name}/-/${name}-${version}.tgz`, integrity }
  return { name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }
}

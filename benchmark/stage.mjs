// The upstreams of a run, in a process of their own.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as http } from 'node:http'
import { request as https } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { start } from './child.mjs'
import { body, upstreams } from './workloads.mjs'

/** `cores`: those that they may run on, or none for all. */
export function openStage({ cores, smoke }) {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
  const child = start('upstream.mjs', { cores })
  return {
    /** One of those in workloads.mjs. `env`: what makes a client trust it. */
    async upstream(name) {
      const { options, hasty, replies } = upstreams[name]
      const { id, url, ca } = await child.ask('start', { ...options, ...(smoke && hasty) }, replies)
      return {
        url,
        env: ca === undefined ? {} : { NODE_EXTRA_CA_CERTS: written(join(folder, `${name}.pem`), ca) },
        opened: async () => (await child.ask('connections', id)).opened,
        /** Its answers to the first bodies, as none of the clients reads them. */
        completions: (count) => Promise.all(Array.from({ length: count }, (_, at) => askPlainly(url, ca, body(at)))),
      }
    },
    /** Processor time so far, in µs. */
    cpu: () => child.ask('cpu'),
    async close() {
      await child.stop()
      rmSync(folder, { recursive: true })
    },
  }
}

function written(file, text) {
  writeFileSync(file, text)
  return file
}

function askPlainly(url, ca, body) {
  return new Promise((resolve, reject) => {
    const method = url.startsWith('https:') ? https : http
    const options = { method: 'POST', headers: { 'content-type': 'application/json' }, ca, agent: false }
    const sent = method(`${url}/v1/chat/completions`, options, async (response) => {
      try {
        let text = ''
        for await (const data of response.setEncoding('utf8')) text += data
        resolve(JSON.parse(text))
      } catch (error) {
        reject(error)
      }
    })
    sent.on('error', reject)
    sent.end(JSON.stringify(body))
  })
}

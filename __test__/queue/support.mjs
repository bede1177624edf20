// Processes of one job: in this machine's network, or each in a network of its own.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { begin } from '../cli/run.mjs'
import { root } from '../support.mjs'

/** What a field of a job has in the queue of this Redis. */
export function fieldOf(server, job, name) {
  return server.ask('HGET', `{trunkline:batch:${job}}:job`, name)
}

/** `trunkline batch` in a process of its own, which ends with the test. */
export function batch(t, args, within = []) {
  const [command, ...before] = [...within, process.execPath, join(root, 'bin/trunkline.js'), 'batch']
  const process_ = begin([...args, '--json'], { command, before, env: { OPENAI_API_KEY: 'k' } })
  t.after(() => process_.child.kill('SIGKILL'))
  return { ...process_, result: process_.ended.then(({ code, out, err }) => ({ code, err, ...parsed(out) })) }
}

function parsed(out) {
  return out === '' ? {} : JSON.parse(out)
}

/** Why there can be no networks of our own; false where there can. CI runs where there can. */
export function withoutNetworks() {
  if (process.platform !== 'linux') return "SKIPPED: network namespaces are Linux's"
  const name = `tl-try-${process.pid}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'exec', name, 'true')
    return false
  } catch (error) {
    return process.env.CI ? false : `SKIPPED: no network namespaces: ${error.stderr ?? error.message}`
  } finally {
    try {
      ip('netns', 'delete', name)
    } catch {}
  }
}

/** A network with a hub, and others that reach it by a cable each, which can be pulled. They go with the test. */
export function networks(t, count) {
  const prefix = `tl${process.pid}`
  const hub = `${prefix}-hub`
  const made = []
  t.after(() => {
    for (const name of made) ip('netns', 'delete', name)
  })
  const make = (name) => {
    ip('netns', 'add', name)
    made.push(name)
    ip('-n', name, 'link', 'set', 'lo', 'up')
    return name
  }
  make(hub)
  ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge')
  ip('-n', hub, 'addr', 'add', '10.77.0.1/24', 'dev', 'bridge')
  ip('-n', hub, 'link', 'set', 'bridge', 'up')
  const within = (name) => ['ip', 'netns', 'exec', name]
  const others = Array.from({ length: count }, (_, n) => {
    const name = make(`${prefix}-${n}`)
    const end = `cable${n}`
    ip('-n', hub, 'link', 'add', end, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    ip('-n', hub, 'link', 'set', end, 'master', 'bridge', 'up')
    ip('-n', name, 'addr', 'add', `10.77.0.${n + 10}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    return { within: within(name), cable: (state) => ip('-n', hub, 'link', 'set', end, state) }
  })
  return { host: '10.77.0.1', within: within(hub), others }
}

function ip(...args) {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** A client's options as a module, with a stand-in of its process's own. */
export function withStandIn(dir, options) {
  const file = join(dir, 'client.mjs')
  writeFileSync(
    file,
    `import { MockUpstream } from ${JSON.stringify(join(root, 'testing.js'))}
const upstream = await MockUpstream.start(${JSON.stringify(options)})
export default { baseURL: upstream.url + '/v1', apiKey: 'k' }
`,
  )
  return file
}

// Prometheus' text read by its own rules, and its tools.

import { spawn, spawnSync } from 'node:child_process'

/** Families of a text, by name, and all samples as `{ name, labels, value }`. */
export function parse(text) {
  const families = new Map()
  const samples = []
  for (const row of text.split('\n')) {
    const [, what, name, rest] = /^# (HELP|TYPE|UNIT) (\S+) (.*)$/.exec(row) ?? []
    if (what) {
      families.set(name, { ...families.get(name), [what.toLowerCase()]: rest })
      continue
    }
    if (row === '' || row === '# EOF') continue
    const [, metric, braces = '', value] = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$/.exec(row)
    const labels = {}
    for (const [, label, quoted] of braces.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g))
      labels[label] = quoted.replace(/\\(.)/g, (_, char) => (char === 'n' ? '\n' : char))
    // Their order means nothing.
    const ordered = Object.fromEntries(Object.entries(labels).sort())
    samples.push({ name: metric, labels: ordered, value: Number(value) })
  }
  /** The sum of those of a name that have these labels. */
  const sum = (name, wanted = {}) =>
    samples
      .filter((sample) => sample.name === name)
      .filter(({ labels }) => Object.entries(wanted).every(([label, value]) => labels[label] === value))
      .reduce((sum, { value }) => sum + value, 0)
  return { families, samples, sum }
}

/** Whether a program of Debian's `prometheus` is here. In CI it is. */
export function has(program) {
  if (spawnSync(program, ['--version']).status === 0) return true
  if (process.env.CI) throw new Error(`${program} is not installed (.ci/install-peers)`)
  console.error(`!! SKIPPED: ${program} is not installed (Debian's package prometheus)`)
  return false
}

/** Runs `promtool` with a text as its input; what it says. */
export function promtool(args, input = '') {
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8' })
  return { status, said: stdout + stderr }
}

/** A Prometheus of this configuration, with its data in this folder; `ask` gives the result of a query. */
export async function serve(t, { config, data, port, until }) {
  const args = [`--config.file=${config}`, `--storage.tsdb.path=${data}`, `--web.listen-address=127.0.0.1:${port}`]
  const child = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  t.after(() => new Promise((resolve) => child.once('exit', resolve) && child.kill('SIGKILL')))
  const url = `http://127.0.0.1:${port}`
  await until(async () => {
    if (child.exitCode !== null) throw new Error(said)
    return (await fetch(`${url}/-/ready`).catch(() => null))?.ok
  }, 'Prometheus is ready')
  return async (query) => {
    const answer = await (
      await fetch(`${url}/api/v1/query`, { method: 'POST', body: new URLSearchParams({ query }) })
    ).json()
    if (answer.status !== 'success') throw new Error(`${query}: ${answer.error}`)
    return answer.data.result
  }
}

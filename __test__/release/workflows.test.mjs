// The workflows, as far as they can be looked at without running them.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { targets } from '../../scripts/release/targets.mjs'
import { shellFor } from '../../scripts/run.mjs'
import { root } from '../support.mjs'

const folder = join(root, '.github/workflows')
const workflows = Object.fromEntries(
  readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'utf8')]),
)
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** What a workflow runs, each job's text by its name. */
function jobsOf(text) {
  const [, jobs] = text.split(/^jobs:\n/m)
  return Object.fromEntries(
    jobs
      .split(/^ {2}(?=[\w-]+:\n)/m)
      .filter(Boolean)
      .map((job) => [job.slice(0, job.indexOf(':')), job]),
  )
}

for (const [file, text] of Object.entries(workflows)) {
  test(`${file} runs others' actions by the digest of a commit alone, with its version beside it`, () => {
    for (const [, used] of text.matchAll(/uses: (.*)/g)) {
      if (!used.startsWith('./')) assert.match(used, /^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
      else assert.ok(existsSync(join(root, used)), used)
    }
  })

  test(`${file} may read, keeps no credentials where it checks out, and ends by itself`, () => {
    assert.match(text, /^permissions:\n {2}contents: read\n/m)
    assert.equal(text.match(/actions\/checkout@/g)?.length ?? 0, text.match(/persist-credentials: false/g)?.length ?? 0)
    for (const [name, job] of Object.entries(jobsOf(text))) {
      if (!/^ {4}uses:/m.test(job)) assert.match(job, /^ {4}timeout-minutes: \d+$/m, name)
    }
  })

  test(`${file} runs what there is`, () => {
    for (const [path] of text.matchAll(/(scripts|__test__|\.ci)\/[\w./-]+/g))
      assert.ok(existsSync(join(root, path.replace(/\.$/, ''))), path)
    for (const [, name] of text.matchAll(/npm run ([\w:]+)/g)) assert.ok(scripts[name], name)
    // What an event brings is words of others: none may become part of a command.
    assert.doesNotMatch(text, /run:.*\$\{\{ *github\.event/)
  })
}

test('all targets are built, each on its runner, and each kind of system is installed on', () => {
  const said = execFileSync(process.execPath, [join(root, 'scripts/release/plan.mjs')], { encoding: 'utf8' })
  const planned = JSON.parse(said.slice('targets='.length))
  assert.deepEqual(
    planned.map(({ triple }) => triple),
    targets.map(({ triple }) => triple),
  )
  const { try: tried, build } = jobsOf(workflows['packages.yml'])
  for (const { runner, name } of targets) {
    const own = { linux: name.includes('arm64') ? 'ubuntu-24.04-arm' : 'ubuntu-24.04' }[name.split('-')[0]] ?? runner
    const image = name.startsWith('linux') ? (name.endsWith('musl') ? '-alpine' : '-slim') : ''
    assert.match(tried, new RegExp(`runner: ${own}${image ? `, image: 'node:[\\w-]+${image}'` : ' }'}`), name)
  }
  assert.match(build, /if-no-files-found: error/)
})

test('nothing is published before it was built, looked at and installed on each platform, and then with provenance', () => {
  const { publish, packages } = jobsOf(workflows['release.yml'])
  assert.match(packages, /uses: \.\/\.github\/workflows\/packages\.yml/)
  assert.match(publish, /^ {4}needs: packages$/m)
  assert.match(publish, /id-token: write/)
  assert.match(publish, /node scripts\/release\/publish\.mjs$/m)
  const { stage, try: tried } = jobsOf(workflows['packages.yml'])
  assert.match(stage, /^ {4}needs: build$/m)
  assert.match(stage, /stage\.mjs[\s\S]*check\.mjs/)
  assert.match(tried, /^ {4}needs: stage$/m)
  // No other job may sign.
  assert.equal(
    Object.values(workflows)
      .join('')
      .match(/id-token: write/g).length,
    1,
  )
})

test('npm is left to ask for the workflow’s identity, and has a token for the first release alone', () => {
  const { publish } = jobsOf(workflows['release.yml'])
  // By either, npm would have a token that is none, and use it.
  assert.doesNotMatch(publish, /registry-url:|NODE_AUTH_TOKEN/)
  assert.match(publish, /^ {10}NPM_TOKEN: \$\{\{ secrets\.NPM_TOKEN \}\}$/m)
  // No other job has a secret.
  assert.equal(
    Object.values(workflows)
      .join('')
      .match(/secrets\./g).length,
    1,
  )
})

test('everything runs where CI’s programs are packages, and where networks can be made', () => {
  const { whole } = jobsOf(workflows['ci.yml'])
  const [, image] = /^ {4}container: \{ image: '([\w:.-]+)', options: --privileged \}$/m.exec(whole)
  // The names in .ci/install-peers are Debian's, and no newer Rust may be wanted than is in it.
  assert.match(image, /^rust:1-(bookworm|trixie)$/)
  assert.match(whole, /safe\.directory[\s\S]*\.ci\/run/)
})

test('on Windows, where npm is a script, a clone is set up by a shell, and nothing else goes through one', () => {
  assert.ok(shellFor('npm', 'win32'))
  for (const [command, platform] of [
    ['npm', 'linux'],
    ['npm', 'darwin'],
    ['cargo', 'win32'],
    [process.execPath, 'win32'],
  ])
    assert.equal(shellFor(command, platform), false, `${command}, ${platform}`)
  assert.match(jobsOf(workflows['ci.yml']).platform, /windows-2025[\s\S]*npm run setup/)
})

test('what links the addons is pinned by its hash', () => {
  const lines = readFileSync(join(root, 'scripts/release/requirements.txt'), 'utf8')
    .split('\n')
    .filter((line) => line && !line.startsWith('#'))
  assert.equal(lines.length, 2)
  for (const line of lines) assert.match(line, /^[\w-]+==[\d.]+ --hash=sha256:[0-9a-f]{64}$/)
})

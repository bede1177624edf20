// A release, and all that may be wrong with one: it is found before anything is sent.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, describe } from 'node:test'
import { Worker } from 'node:worker_threads'
import { compare, parsed, problemsOfChangelog, sectionsOf, underHeading } from '../../scripts/release/changelog.mjs'
import { MOST, problemsOfRelease } from '../../scripts/release/check.mjs'
import { licencesPage, writtenPage } from '../../scripts/release/licences.mjs'
import { leastStep, nextVersion, prepared } from '../../scripts/release/prepare.mjs'
import { publishArgs, withToken } from '../../scripts/release/publish.mjs'
import { stage } from '../../scripts/release/stage.mjs'
import { fileOf, packageOf, tarballsOf, targets } from '../../scripts/release/targets.mjs'
import { root } from '../support.mjs'
import { addonFor } from './addons.mjs'

const folder = mkdtempSync(join(tmpdir(), 'trunkline-release-test-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const version = '1.2.3'
const changelog = `## [Unreleased]\n\n## [${version}] - 2026-01-31\n\n### Fixed\n- It.\n`
const right = { version, changelog, tag: `v${version}` }

let count = 0
/** A release's tarballs, small but right; `change` may alter each package: its manifest, its files. */
function release(change = () => {}) {
  const to = join(folder, `release-${++count}`)
  mkdirSync(to, { recursive: true })
  for (const { name, file } of tarballsOf(version)) {
    const made = contentOf(name)
    if (change(name, made) === false) continue
    const content = join(to, 'unpacked', name, 'package')
    mkdirSync(content, { recursive: true })
    writeFileSync(join(content, 'package.json'), JSON.stringify(made.manifest))
    for (const [path, text] of Object.entries(made.files)) writeFileSync(join(content, path), text)
    execFileSync('tar', ['-czf', join(to, file), '-C', join(content, '..'), 'package'])
  }
  return to
}

function contentOf(name) {
  const target = targets.find((one) => packageOf(one) === name)
  const manifest = { name, version, repository: { type: 'git', url: 'git+https://example.com/it.git' } }
  if (!target) {
    const optionalDependencies = Object.fromEntries(targets.map((one) => [packageOf(one), version]))
    const exports = { '.': { types: './index.d.ts', default: './index.js' } }
    const bin = { trunkline: 'cli.js' }
    return {
      manifest: { ...manifest, optionalDependencies, exports, bin },
      files: { LICENSE: 'MIT', 'index.js': '', 'index.d.ts': '', 'cli.js': '' },
    }
  }
  const { os, cpu, libc } = target
  return {
    manifest: { ...manifest, os: [os], cpu: [cpu], libc: libc && [libc], main: fileOf(target) },
    files: { LICENSE: 'MIT', 'README.md': '', 'THIRD-PARTY-LICENSES.md': '', [fileOf(target)]: addonFor(target) },
  }
}

describe('the tarballs', () => {
  test('that are as they should be have no problem', () => {
    assert.deepEqual(problemsOfRelease(release(), right), [])
  })

  /** @type {[string, (name: string, made: any) => any, RegExp][]} */
  const wrong = [
    [
      'a package that is missing',
      (name) => name !== 'trunkline-darwin-x64',
      /^trunkline-darwin-x64-1\.2\.3\.tgz is missing$/,
    ],
    [
      'an addon of another platform',
      (name, { files }) => {
        if (name === 'trunkline-linux-x64-musl')
          files['trunkline.linux-x64-musl.node'] = addonFor({ name: 'linux-x64-gnu' })
      },
      /^trunkline-linux-x64-musl-1\.2\.3\.tgz: it asks for glibc/m,
    ],
    [
      'an addon that is missing',
      (name, { files }) => {
        if (name === 'trunkline-win32-x64-msvc') delete files['trunkline.win32-x64-msvc.node']
      },
      /^trunkline-win32-x64-msvc-1\.2\.3\.tgz: it has no trunkline\.win32-x64-msvc\.node$/m,
    ],
    [
      'a script that would run on install',
      (name, { manifest }) => {
        if (name === 'trunkline-linux-x64-gnu') manifest.scripts = { postinstall: 'node x.js' }
      },
      /^trunkline-linux-x64-gnu-1\.2\.3\.tgz: it has a script postinstall$/,
    ],
    [
      'a dependency',
      (name, { manifest }) => {
        if (name === 'trunkline') manifest.dependencies = { leftpad: '1' }
      },
      /^trunkline-1\.2\.3\.tgz: it has dependencies$/,
    ],
    [
      'an optional dependency of another version',
      (name, { manifest }) => {
        if (name === 'trunkline') manifest.optionalDependencies['trunkline-darwin-x64'] = '1.2.2'
      },
      /^trunkline-1\.2\.3\.tgz: its optional dependencies are .* not each platform at 1\.2\.3$/,
    ],
    [
      'the addon of whoever packed it',
      (name, { files }) => {
        if (name === 'trunkline') files['trunkline.linux-x64-gnu.node'] = 'x'
      },
      /^trunkline-1\.2\.3\.tgz: an addon is in it: trunkline\.linux-x64-gnu\.node$/,
    ],
    [
      'an export that is not in it',
      (name, { files }) => {
        if (name === 'trunkline') delete files['index.d.ts']
      },
      /^trunkline-1\.2\.3\.tgz: it names \.\/index\.d\.ts, which is not in it$/,
    ],
    [
      'a package for the wrong machines',
      (name, { manifest }) => {
        if (name === 'trunkline-linux-arm64-musl') delete manifest.libc
      },
      /^trunkline-linux-arm64-musl-1\.2\.3\.tgz: it is for .* should be for .*"libc":\["musl"\]/,
    ],
    [
      'too much weight',
      (name, { files }) => {
        if (name === 'trunkline-linux-x64-gnu') files['README.md'] = ' '.repeat(MOST.installed)
      },
      /^on linux-x64-gnu it weighs \d+ bytes, more than 13500000$/,
    ],
  ]
  for (const [what, change, says] of wrong) {
    test(`with ${what} are not published`, () =>
      assert.match(problemsOfRelease(release(change), right).join('\n'), says))
  }

  test('of a version that no tag and no section of the changelog is for are not published', () => {
    const made = release()
    assert.deepEqual(problemsOfRelease(made, { ...right, tag: 'v1.2.4' }), ['the tag is v1.2.4, and the version 1.2.3'])
    assert.deepEqual(problemsOfRelease(made, { ...right, changelog: '## [Unreleased]\n' }), [
      'CHANGELOG.md has no section for 1.2.3',
    ])
  })

  test('are not made while an addon is missing, or is not what it should be', () => {
    const artifacts = join(folder, 'artifacts')
    mkdirSync(artifacts)
    for (const target of targets.slice(1)) writeFileSync(join(artifacts, fileOf(target)), addonFor(target))
    writeFileSync(join(artifacts, fileOf(targets[2])), addonFor(targets[0]))
    assert.throws(
      () => stage({ artifacts, to: join(folder, 'staged') }),
      /trunkline\.linux-x64-gnu\.node is missing: x86_64-unknown-linux-gnu was not built\ntrunkline\.linux-x64-musl\.node: it needs libc\.so\.6/,
    )
  })

  test('are published with provenance, and what comes before a release not as what users get by default', () => {
    const args = (version, more) => publishArgs('it.tgz', { version, ...more })
    assert.deepEqual(args('1.0.0'), [
      'publish',
      'it.tgz',
      '--ignore-scripts',
      '--access=public',
      '--tag=latest',
      '--provenance',
    ])
    assert.ok(args('1.0.0-rc.1').includes('--tag=next'))
    assert.ok(args('1.0.0', { dryRun: true }).includes('--dry-run'))
  })

  test('are published by a token where there is one, as the first are, and no file has it', async (t) => {
    // In a thread of its own, since npm is waited for in this one.
    const registry = new Worker(
      `const { parentPort } = require('node:worker_threads')
      require('node:http').createServer((request, response) => {
        if (request.method === 'PUT') parentPort.postMessage(request.headers.authorization)
        request.resume().on('end', () => response.setHeader('content-type', 'application/json').end('{}'))
      }).listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port) })`,
      { eval: true },
    )
    t.after(() => registry.terminate())
    const next = () => new Promise((resolve) => registry.once('message', resolve))
    const url = `http://127.0.0.1:${await next()}`
    const heard = next()
    const file = join(release(), `trunkline-${version}.tgz`)
    const { settings, text, status, stderr } = withToken('npm_secret', url, (env) => {
      const args = publishArgs(file, { version, registry: url })
      const { status, stderr } = spawnSync('npm', args, {
        cwd: folder,
        env: { ...process.env, ...env },
        encoding: 'utf8',
      })
      const settings = env.npm_config_userconfig
      return { settings, text: readFileSync(settings, 'utf8'), status, stderr }
    })
    assert.equal(status, 0, stderr)
    assert.equal(await heard, 'Bearer npm_secret')
    assert.doesNotMatch(text, /npm_secret/)
    assert.equal(existsSync(settings), false)
  })

  test('are published by the workflow’s own identity where there is no token: npm’s settings are left alone', () => {
    // A secret that is not set is an empty text.
    for (const token of [undefined, ''])
      assert.deepEqual(
        withToken(token, undefined, (env) => env),
        {},
      )
  })

  test('are the only way: `npm publish` in a clone is refused', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    const { status, stderr } = spawnSync(scripts.prepublishOnly, { cwd: root, shell: true, encoding: 'utf8' })
    assert.equal(status, 1)
    assert.match(stderr, /from tarballs that have been tested/)
  })
})

describe('the package here', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, stdio: 'pipe' })
  const [{ files }] = Object.values(JSON.parse(said.toString()))

  test('has no dependency at run time, and no script that an install would run', () => {
    assert.equal(manifest.dependencies, undefined)
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
      assert.equal(manifest.scripts[name], undefined)
  })

  test('has what runs, its typings and its licence in it, and nothing else', () => {
    const own = /^(index|testing|otel)\.(js|d\.ts)$|^lib\/|^bin\/trunkline\.js$|^src\/policy\/money\/prices\.json$/
    const papers = ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES.md', 'package.json']
    const addon = /^trunkline\.[\w-]+\.node$/
    const rest = files
      .map(({ path }) => path)
      .filter((path) => !own.test(path) && !addon.test(path) && !papers.includes(path))
    assert.deepEqual(rest, [])
    assert.equal(files.filter(({ path }) => addon.test(path)).length, 1)
  })

  test('weighs less than a megabyte without its addon', () => {
    const sum = files
      .filter(({ path }) => !path.endsWith('.node') && !path.startsWith('THIRD'))
      .reduce((all, { size }) => all + size, 0)
    assert.ok(sum < MOST.main, `${sum} bytes`)
  })

  test('lists the licences of exactly what is linked into its addons', () => {
    assert.ok(writtenPage() === licencesPage(), 'npm run licences')
  })
})

describe('versions', () => {
  const text =
    '# Changelog\n\n## [Unreleased]\n\n### Added\n- One.\n\n## [1.1.0] - 2026-01-02\n\n### Fixed\n- Two.\n\n## [1.0.0] - 2026-01-01\n'
  const files = {
    'package.json': '{\n  "name": "trunkline",\n  "version": "1.1.0"\n}\n',
    'package-lock.json': '{"version":"1.1.0","packages":{"":{"version":"1.1.0"}}}',
    'Cargo.toml': '[package]\nname = "trunkline"\nversion = "1.1.0"\n',
    'Cargo.lock': '[[package]]\nname = "trunkline"\nversion = "1.1.0"\n',
    'CHANGELOG.md': text,
  }

  test('the changelog here has the form that is read', () => {
    assert.deepEqual(problemsOfChangelog(readFileSync(join(root, 'CHANGELOG.md'), 'utf8')), [])
  })

  test('a changelog is read by version and heading, and what is wrong with its form is told', () => {
    assert.deepEqual(
      sectionsOf(text).map(({ version, date }) => [version, date]),
      [
        ['Unreleased', undefined],
        ['1.1.0', '2026-01-02'],
        ['1.0.0', '2026-01-01'],
      ],
    )
    assert.equal(underHeading(sectionsOf(text)[1].text, 'Fixed'), '- Two.')
    const wrong =
      '## [1.0.0]\n### News\n## [1.0] - 2026-01-01\n### Fixed\n### Fixed\n## [2.0.0] - 2026-01-01\n## [3.0.0] - 2026-01-01\n'
    assert.deepEqual(problemsOfChangelog(wrong), [
      'the first section is not [Unreleased]',
      '[1.0.0] has no date',
      '[1.0.0] has a heading "News"; there are Breaking, Added, Changed, Deprecated, Removed, Fixed, Security',
      '[1.0] is no semantic version',
      '[1.0] has "Fixed" twice',
      '[3.0.0] stands below an older one',
    ])
  })

  test('versions are ordered as semver.org orders them', () => {
    const order = [
      '0.9.0',
      '1.0.0-alpha',
      '1.0.0-alpha.1',
      '1.0.0-alpha.beta',
      '1.0.0-beta.2',
      '1.0.0-beta.11',
      '1.0.0-rc.1',
      '1.0.0',
      '1.0.10',
    ]
    assert.deepEqual(
      order.toReversed().sort((a, b) => compare(parsed(a), parsed(b))),
      order,
    )
    for (const no of ['1', '1.0', '01.0.0', '1.0.0-', 'v1.0.0', '']) assert.equal(parsed(no), undefined, no)
  })

  test('a step is one of its kind', () => {
    const from = (version, word) => nextVersion(word, parsed(version))
    assert.deepEqual(
      ['major', 'minor', 'patch', '3.0.0-rc.1'].map((word) => from('1.2.3', word)),
      ['2.0.0', '1.3.0', '1.2.4', '3.0.0-rc.1'],
    )
    assert.equal(from('1.2.3-rc.1', 'patch'), '1.2.3')
    assert.throws(() => from('1.2.3', 'bigger'), /"bigger" is no semantic version, nor major, minor, patch/)
  })

  test('a break is a major step, below 1.0.0 a minor one; something new a minor one', () => {
    const step = (heading, version) => leastStep(`### ${heading}\n- It.`, parsed(version))
    assert.deepEqual([step('Breaking', '1.0.0'), step('Breaking', '0.4.0')], ['major', 'minor'])
    assert.deepEqual(
      [step('Added', '1.0.0'), step('Fixed', '1.0.0'), step('Security', '1.0.0')],
      ['minor', 'patch', 'patch'],
    )
  })

  test('a release raises the version wherever it is written, and dates the changes', () => {
    const made = prepared(files, 'minor', '2026-02-03')
    assert.equal(made.version, '1.2.0')
    for (const name of ['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock']) {
      assert.ok(made[name].includes('1.2.0') && !made[name].includes('1.1.0'), name)
    }
    assert.ok(made['CHANGELOG.md'].includes('## [Unreleased]\n\n## [1.2.0] - 2026-02-03\n\n### Added\n- One.\n'))
    assert.deepEqual(problemsOfChangelog(made['CHANGELOG.md']), [])
  })

  test('a release that is too small a step, older, or without a change is refused', () => {
    assert.throws(
      () => prepared(files, 'patch', '2026-02-03'),
      /1\.1\.1 is too small a step from 1\.1\.0: by CHANGELOG\.md it is a minor one/,
    )
    assert.throws(() => prepared(files, '1.0.9', '2026-02-03'), /1\.0\.9 is older than 1\.1\.0/)
    const none = { ...files, 'CHANGELOG.md': text.replace('### Added\n- One.\n\n', '') }
    assert.throws(() => prepared(none, 'minor', '2026-02-03'), /nothing under \[Unreleased\]/)
  })

  test('what this clone has written down can be released', () => {
    const read = (name) => readFileSync(join(root, name), 'utf8')
    const here = Object.fromEntries(Object.keys(files).map((name) => [name, read(name)]))
    assert.equal(
      prepared(here, 'major', '2026-02-03').version,
      nextVersion('major', parsed(JSON.parse(here['package.json']).version)),
    )
  })
})

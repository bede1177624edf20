// The packages of a release, installed as users install them. Here with npm from a shelf in this process; with `INSTALL=all` (`npm run test:install`) from a real
// registry on loopback, by npm, pnpm and yarn, and with `INSTALL=source` built from a clone as well.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test, { after, before, describe } from 'node:test'
import { MockUpstream } from 'trunkline/testing'
import { problemsOfRelease, releaseHere } from '../scripts/release/check.mjs'
import { publish } from '../scripts/release/publish.mjs'
import { stage } from '../scripts/release/stage.mjs'
import { fileOf, packageOf, targets } from '../scripts/release/targets.mjs'
import { runBare, runWithoutPath } from './install/bare-root.mjs'
import { shelf } from './install/shelf.mjs'
import { verdaccio } from './install/verdaccio.mjs'
import { run, project as tools } from './matrix/project.mjs'
import { built } from './platforms/dockerfile.mjs'
import { root, until } from './support.mjs'

const all = process.env.INSTALL
const { version, changelog } = releaseHere()
const here = targets.find((target) => existsSync(join(root, fileOf(target))))
const USED = 'chat, stream, fetch'

const folder = mkdtempSync(join(tmpdir(), 'trunkline-install-'))
after(() => rmSync(folder, { recursive: true, force: true }))
/** The tarballs of a release with the addon of this machine; texts are in the place of the others. */
let tarballs
before(() => {
  const artifacts = join(folder, 'artifacts')
  mkdirSync(artifacts)
  // The one that is being developed, and not as it is released: what a release's must be is the workflow's to check.
  cpSync(join(root, fileOf(here)), join(artifacts, fileOf(here)))
  tarballs = stage({ artifacts, to: join(folder, 'packages'), rehearsal: true })
})

/** An empty project that uses a registry. */
function empty(name, registry) {
  const project = join(folder, name)
  mkdirSync(project, { recursive: true })
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name, version: '1.0.0', private: true }))
  writeFileSync(join(project, '.npmrc'), `registry=${registry}\n${registry.replace('http:', '')}:_authToken=anybody\n`)
  cpSync(join(root, '__test__/matrix/use.cjs'), join(project, 'use.cjs'))
  for (const file of ['esm.mjs', 'common.cjs']) {
    cpSync(join(root, '__test__/matrix/projects/scripts', file), join(project, file))
  }
  const env = {
    npm_config_cache: join(folder, 'cache'),
    npm_config_userconfig: join(project, '.npmrc'),
    npm_config_registry: registry,
    npm_config_update_notifier: 'false',
    // Every package manager's home, so that this machine's settings and stores are not used.
    HOME: join(folder, 'home'),
    XDG_CACHE_HOME: join(folder, 'home/cache'),
    XDG_DATA_HOME: join(folder, 'home/data'),
    PATH: withoutRust(),
  }
  const does = async (command, args, { code = 0, ...options } = {}) => {
    const result = await run(command, args, { cwd: project, env, limit: 120_000, ...options })
    assert.equal(result.code, code, `${command} ${args.join(' ')}: ${result.all}`)
    return result
  }
  return {
    project,
    env,
    does,
    npm: (...args) => does('npm', [...args, '--no-audit', '--no-fund']),
    answers: async (...node) => {
      for (const file of ['esm.mjs', 'common.cjs']) {
        const { stdout, stderr } = await does(process.execPath, [...node, file])
        assert.deepEqual([stdout, stderr], [USED, ''])
      }
    },
    addons: () => readdirSync(join(project, 'node_modules')).filter((entry) => entry.startsWith('trunkline-')),
  }
}

/** What a machine without Rust has. */
function withoutRust() {
  const folders = process.env.PATH.split(delimiter)
  return folders
    .filter((one) => !['cargo', 'rustc', 'rustup'].some((name) => existsSync(join(one, name))))
    .join(delimiter)
}

describe('from a shelf', () => {
  let registry
  before(async () => {
    registry = await shelf(tarballs)
  })
  after(() => registry.close())

  test('npm installs the package and the one addon that this machine needs, runs no script, and it answers', async () => {
    const made = empty('shelf', registry.url)
    await made.npm('install', 'trunkline', '--ignore-scripts', '--omit=dev')
    assert.deepEqual(made.addons(), [packageOf(here)])
    const lock = JSON.parse(readFileSync(join(made.project, 'package-lock.json'), 'utf8'))
    assert.deepEqual(
      Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript),
      [],
    )
    await made.answers()
    const { stdout } = await made.does('npx', ['--no-install', 'trunkline', 'size', '--preset', 'batch', '--json'])
    assert.ok(JSON.parse(stdout).pool.maxConnections > 0, stdout)
  })

  test('nothing else is asked of the registry than these packages', () => {
    // npm looks at peers even where they are optional.
    const names = new Set(['trunkline', ...targets.map(packageOf), '@opentelemetry'])
    assert.deepEqual(
      registry.asked.filter((path) => !names.has(path.split('/')[0])),
      [],
    )
  })

  test('the script by which each platform of the workflow tries the packages says that they answer', async () => {
    const { stdout } = await run(process.execPath, [join(root, 'scripts/release/try.mjs'), join(folder, 'packages')], {
      cwd: folder,
    })
    assert.ok(stdout.endsWith(`: ${packageOf(here)} answers`), stdout)
  })

  test('it answers in a root with nothing but Node, and with an empty PATH', async () => {
    const { project } = empty('shelf', registry.url)
    for (const result of [runBare(join(folder, 'bare'), project, ['esm.mjs']), runWithoutPath(project, ['esm.mjs'])]) {
      assert.deepEqual([result.status, result.stdout.trim(), result.stderr], [0, USED, ''], result.how)
    }
  })

  for (const [name, image, certificates] of [
    ['slim', /^node:\d+-slim$/, 'apt-get install -y --no-install-recommends ca-certificates'],
    ['alpine', /^node:\d+-alpine$/, 'apk add --no-cache ca-certificates'],
  ]) {
    test(`what examples/docker/${name}.Dockerfile does makes a server that streams, and that SIGTERM ends well`, {
      skip: process.platform === 'win32' && 'a shell of Unix runs what the file says',
    }, async (t) => {
      const upstream = await MockUpstream.start()
      t.after(() => upstream.close())
      upstream.reply({ model: 'gpt-4o-mini' }, 'one two three')
      const recipes = join(root, 'examples/docker')
      const { project, env, npm } = empty(`docker-${name}`, registry.url)
      cpSync(recipes, project, { recursive: true })
      // As on the laptop of whoever writes it.
      await npm('install', '--package-lock-only', '--os=darwin', '--cpu=arm64')
      const to = join(folder, `image-${name}`)
      mkdirSync(to)
      const made = await built(join(recipes, `${name}.Dockerfile`), project, to, env)
      for (const from of made.from) assert.match(from, image)
      assert.ok(made.ran.includes(certificates), made.ran.join('\n'))
      assert.equal(made.user, 'node')

      const [program, ...args] = made.command
      assert.equal(program, 'node')
      const child = spawn(process.execPath, args, {
        cwd: made.folder,
        env: { ...made.env, PORT: '0', TRUNKLINE_BASE_URL: `${upstream.url}/v1`, TRUNKLINE_API_KEY: 'k' },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      t.after(() => child.kill('SIGKILL'))
      let said = ''
      child.stdout.on('data', (data) => (said += data))
      const [, port] = await until(
        () => /listening on (\d+)/.exec(said),
        () => `it listens: ${said}`,
      )
      assert.equal(await (await fetch(`http://127.0.0.1:${port}/?q=Count`)).text(), 'one two three')
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      assert.deepEqual(await ended, [0, null])
    })
  }

  test('the packages are what a release must be, but for the addons that were not built', () => {
    const problems = problemsOfRelease(join(folder, 'packages'), { version, changelog, sizes: false })
    const built = new RegExp(`^(${packageOf(here)}|CHANGELOG)`)
    const others = targets.filter((target) => target !== here).map((target) => `${packageOf(target)}-${version}.tgz`)
    const rest = problems.filter((problem) => !built.test(problem))
    assert.deepEqual(rest.map((problem) => problem.split(':')[0]).sort(), others.sort())
    for (const problem of rest) assert.match(problem, /cannot be read: it is neither ELF/)
  })
})

if (all) {
  describe('from a registry', () => {
    let registry
    let program
    before(async () => {
      const { folder: installers } = await tools('installers')
      program = (path) => join(installers, 'node_modules', path)
      registry = await verdaccio(program('verdaccio/bin/verdaccio'), join(folder, 'verdaccio'))
    })
    after(() => registry?.close())
    const other = targets.find(({ os }) => os === (process.platform === 'darwin' ? 'win32' : 'darwin'))

    test('all are published, the package last; and once more, where it broke off, nothing is sent twice', () => {
      const { project } = empty('publisher', registry.url)
      const said = []
      const release = { folder: join(folder, 'packages'), version, registry: registry.url, cwd: project }
      publish({ ...release, say: (line) => said.push(line) })
      assert.deepEqual(
        said,
        [...targets.map(packageOf), 'trunkline'].map((name) => `${name}@${version}`),
      )
      const again = []
      publish({ ...release, say: (line) => again.push(line) })
      assert.deepEqual(
        again,
        said.map((line) => `${line} is there already`),
      )
    })

    for (const [what, flags] of [
      ['npm install', []],
      ['npm install --ignore-scripts', ['--ignore-scripts']],
      ['npm install --omit=dev', ['--omit=dev']],
    ]) {
      test(`${what}: import and require answer`, async () => {
        const made = empty(what.replaceAll(/\W+/g, '-'), registry.url)
        await made.npm('install', 'trunkline', ...flags)
        assert.deepEqual(made.addons(), [packageOf(here)])
        await made.answers()
      })
    }

    test('npm ci by a lock file that was made for another platform', async () => {
      const made = empty('lock', registry.url)
      await made.npm('install', 'trunkline', '--package-lock-only', `--os=${other.os}`, `--cpu=${other.cpu}`)
      await made.npm('ci')
      assert.deepEqual(made.addons(), [packageOf(here)])
      await made.answers()
    })

    test('node_modules that were installed for another platform are told as such, and what the error says helps', async () => {
      const made = empty('moved', registry.url)
      await made.npm('install', 'trunkline', `--os=${other.os}`, `--cpu=${other.cpu}`)
      assert.deepEqual(made.addons(), [packageOf(other)])
      const { stderr } = await made.does(process.execPath, ['common.cjs'], { code: 1 })
      assert.match(stderr, new RegExp(`there is no package ${packageOf(here)}, but ${packageOf(other)}`))
      rmSync(join(made.project, 'node_modules'), { recursive: true })
      await made.npm('install')
      await made.answers()
    })

    test('without optional dependencies the error says that they are wanted, and what it says helps', async () => {
      const made = empty('omitted', registry.url)
      await made.npm('install', 'trunkline', '--omit=optional')
      const { stderr } = await made.does(process.execPath, ['common.cjs'], { code: 1 })
      assert.match(stderr, new RegExp(`there is no package ${packageOf(here)}\\. .*--omit=optional`))
      const [, command] = /`npm (install --os=[^`]+)`/.exec(stderr)
      await made.npm(...command.split(' '))
      await made.answers()
    })

    test('an image for another machine is put together here: npm takes that machine’s addon', async () => {
      const made = empty('image', registry.url)
      await made.npm('install', 'trunkline', '--os=linux', '--cpu=arm64', '--libc=musl')
      assert.deepEqual(made.addons(), ['trunkline-linux-arm64-musl'])
    })

    test('pnpm, and pnpm by its lock file alone', async () => {
      const made = empty('pnpm', registry.url)
      const pnpm = (...args) => made.does(process.execPath, [program('pnpm/bin/pnpm.cjs'), ...args])
      await pnpm('add', 'trunkline')
      await made.answers()
      rmSync(join(made.project, 'node_modules'), { recursive: true })
      await pnpm('install', '--frozen-lockfile', '--prod')
      await made.answers()
    })

    test('yarn 1, and yarn 1 by its lock file alone', async () => {
      const made = empty('yarn-1', registry.url)
      const yarn = (...args) => made.does(process.execPath, [program('yarn/bin/yarn.js'), ...args, '--non-interactive'])
      await yarn('add', 'trunkline')
      await made.answers()
      rmSync(join(made.project, 'node_modules'), { recursive: true })
      await yarn('install', '--frozen-lockfile', '--production')
      await made.answers()
    })

    for (const linker of ['node-modules', 'pnp']) {
      test(`yarn 4 with nodeLinker: ${linker}`, async () => {
        const made = empty(`yarn-4-${linker}`, registry.url)
        writeFileSync(
          join(made.project, '.yarnrc.yml'),
          [
            `nodeLinker: ${linker}`,
            `npmRegistryServer: "${registry.url}"`,
            'unsafeHttpWhitelist: ["127.0.0.1"]',
            'enableTelemetry: false',
            'enableGlobalCache: false',
            // New packages are usually let lie for some days.
            'npmMinimalAgeGate: 0',
            // Without it, `import` knows nothing of PnP where the project itself is CommonJS.
            'pnpEnableEsmLoader: true',
            '',
          ].join('\n'),
        )
        writeFileSync(join(made.project, 'yarn.lock'), '')
        const yarn = (...args) => made.does(process.execPath, [program('@yarnpkg/cli-dist/bin/yarn.js'), ...args])
        await yarn('add', 'trunkline')
        if (linker === 'node-modules') await made.answers()
        else {
          for (const file of ['esm.mjs', 'common.cjs']) {
            const { stdout } = await yarn('node', file)
            assert.equal(stdout, USED)
          }
        }
      })
    }
  })
}

if (all === 'source') {
  test('npm run build makes the addon in a fresh clone, and its package answers', async () => {
    const clone = join(folder, 'clone')
    execFileSync('git', ['clone', '--quiet', '--no-hardlinks', root, clone])
    const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target')
    // Dependencies that are compiled already are not compiled again.
    const options = { cwd: clone, env: { CARGO_TARGET_DIR: target }, limit: 1_800_000 }
    const built = await run('npm', ['run', 'build'], options)
    assert.equal(built.code, 0, built.all)
    const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts'], options)
    const [{ filename }] = Object.values(JSON.parse(stdout))
    const made = empty('source', 'http://127.0.0.1:9/')
    await made.npm('install', '--offline', join(clone, filename))
    await made.answers()
  })
}

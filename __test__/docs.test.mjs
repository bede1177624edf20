// The code in the documentation runs, and says what the pages say it does.

import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { sdksIfAny } from '../scripts/sdks.mjs'
import { trunkline } from './cli/run.mjs'
import { blocksOf, isElsewhere, pages, units } from './docs/blocks.mjs'
import { root } from './support.mjs'

const folder = join(root, 'target/docs')
const blocks = pages().flatMap(blocksOf)
const all = units(blocks)

// The environment names no provider, and no child reports to this runner.
const clean = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      !/^(NODE_TEST_CONTEXT|CI|((https?|all|no)_proxy)|(TRUNKLINE|OPENAI|ANTHROPIC|GEMINI|GOOGLE_GEMINI)_.*)$/i.test(
        name,
      ),
  ),
)

/** Runs units in one process; what became of each. */
async function perform(name, node, wanted) {
  const place = join(folder, name)
  mkdirSync(place, { recursive: true })
  const file = join(place, 'units.json')
  writeFileSync(file, JSON.stringify(wanted))
  const args = ['--no-warnings', join(root, '__test__/docs/perform.mjs'), file, place]
  const { stdout } = await promisify(execFile)(node, args, { env: clean, maxBuffer: 1e8, timeout: 240_000 })
  return new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .map((result) => [result.name, result]),
  )
}

/** TypeScript blocks as JavaScript, by the compiler that also checks them. */
function compiled(wanted) {
  if (wanted.length === 0) return { problems: '', units: [] }
  const place = join(folder, 'ts')
  mkdirSync(place, { recursive: true })
  for (const [at, { source }] of wanted.entries()) writeFileSync(join(place, `${at}.mts`), `${source}\nexport {}\n`)
  writeFileSync(
    join(place, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        target: 'es2022',
        lib: ['es2023', 'dom', 'esnext.disposable'],
        module: 'nodenext',
        types: ['node'],
        typeRoots: [join(root, 'node_modules/@types')],
        rootDir: root,
        outDir: './out',
        exactOptionalPropertyTypes: true,
        skipLibCheck: true,
      },
      files: [...wanted.map((_, at) => `./${at}.mts`), join(root, '__test__/docs/ambient.d.ts')],
    }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', place], { encoding: 'utf8' })
  const named = stdout.replace(/^.*?(\d+)\.mts\((\d+)/gm, (_, at, line) => `${wanted[at].name}+${line}`)
  return {
    problems: status === 0 ? '' : named,
    units: wanted.map((unit, at) => ({
      ...unit,
      source: readFileSync(join(place, 'out/target/docs/ts', `${at}.mjs`), 'utf8'),
    })),
  }
}

/** What runs the SDKs; outside of CI a machine may be without. */
const sdks = sdksIfAny()
if (sdks.missing) console.log(`!! SKIPPED: ${sdks.missing}`)

describe('the code of the documentation', () => {
  let results = new Map()
  let typed = { problems: '', units: [] }
  before(async () => {
    rmSync(folder, { recursive: true, force: true })
    typed = compiled(all.filter(({ extension }) => extension === 'ts'))
    const modules = [...all.filter(({ extension }) => extension !== 'ts'), ...typed.units].filter(
      ({ how }) => how === 'module',
    )
    const own = modules.filter(({ sdks }) => !sdks)
    const others = modules.filter((unit) => unit.sdks && !sdks.missing)
    const [one, two] = await Promise.all([
      perform('own', process.execPath, own),
      others.length > 0 ? perform('sdks', sdks.node, others) : new Map(),
    ])
    results = new Map([...one, ...two])
  })

  test('blocks of TypeScript agree with the typings', () => assert.equal(typed.problems, ''))

  for (const { name, how, prints, sdks: needsThem } of all) {
    if (how !== 'module') continue
    const skip = needsThem && sdks.missing
    test(`${name} runs${prints === undefined ? '' : ', and prints what it says'}`, { skip }, () => {
      const result = results.get(name)
      assert.ok(result, 'it was not run')
      if (result.error) assert.fail(`${result.error}\n${result.printed}`)
      if (prints === undefined || shape(result.printed) === shape(prints)) return
      if (process.env.DOCS !== 'write') assert.equal(result.printed, prints)
      const file = join(root, name.split(':')[0])
      writeFileSync(
        file,
        readFileSync(file, 'utf8').replace(prints, () => result.printed),
      )
    })
  }
})

/** Times, ports and the like are those of one run. */
const shape = (text) => text.replace(/\d[\d.,:]*/g, '0').trim()

for (const { name, source, how } of all) {
  if (how !== 'node:test') continue
  test(`${name} is a file of tests that pass`, async () => {
    const place = join(folder, 'tests')
    mkdirSync(place, { recursive: true })
    const file = join(place, `${name.replace(/\W/g, '-')}.test.mjs`)
    writeFileSync(file, source)
    const hook = `data:text/javascript,${encodeURIComponent(`import { register } from 'node:module'; register(${JSON.stringify(new URL('./docs/resolve.mjs', import.meta.url).href)})`)}`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--no-warnings', '--import', hook, '--test', '--test-reporter=tap', file],
      { env: clean },
    )
    assert.match(stdout, /^# pass [1-9]/m, stdout)
    assert.match(stdout, /^# fail 0/m, stdout)
  })
}

const shells = blocks.filter((block) => block.language === 'sh' && !isElsewhere(block))

test('what a reader is told to type is there', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const { page, line, code } of shells) {
    for (const typed of code.replaceAll('\\\n', ' ').split('\n')) {
      const command = typed.replace(/(^|\s)#.*$/, '').trim()
      if (command === '') continue
      await t.test(`${page}:${line}: ${command}`, async () => {
        for (const part of command.split(/\s*&&\s*/)) await typedRuns(part, scripts)
      })
    }
  }
})

/** Holds one command against what there is; throws where there is no such thing. */
async function typedRuns(command, scripts) {
  const words = command.split(/\s+/).filter((word) => !/^[A-Z_]+=/.test(word))
  const [program, verb, ...rest] = words
  if (words.length === 0 || /^(export|cd|git)$/.test(program)) return
  if (program === 'npm' && /^(install|i|ci|pack)$/.test(verb)) return
  if (program === 'npm') return assert.ok((verb === 'run' ? rest[0] : verb) in scripts, `no script ${rest[0] ?? verb}`)
  if (program === 'node') {
    const file = words.slice(1).find((word) => !word.startsWith('-'))
    return assert.ok(file === 'app.js' || existsSync(join(root, file)), `no ${file}`)
  }
  assert.equal(
    `${program} ${verb}`,
    'npx trunkline',
    `${command} is run by nobody: see __test__/docs/blocks.mjs for what comments can say of a block`,
  )
  // Its options, by its own word for them: what it does is tested in `cli/`.
  const { code, out } = await trunkline([rest[0], '--help'])
  assert.equal(code, 0)
  for (const word of rest)
    if (/^--?\w/.test(word)) assert.ok(out.includes(word.split('=')[0]), `${rest[0]} has no ${word}`)
}

test('each code of an error has a page, and each page is of a code', () => {
  const codes = new Set()
  const sources = ['index.d.ts', 'lib/errors.js']
  for (const folder of ['src', 'lib'])
    for (const name of readdirSync(join(root, folder), { recursive: true }))
      if (/\.(rs|js)$/.test(name) && !/^(cli|mock|dashboard)\b/.test(name)) sources.push(join(folder, name))
  // What Node calls the same, of `fetch`, is Node's to explain.
  const nodes = /^ERR_(TLS|SSL)_/
  for (const name of sources)
    for (const [, code] of readFileSync(join(root, name), 'utf8').matchAll(/["'`](ERR_[A-Z_]+)/g))
      if (!nodes.test(code)) codes.add(code)
  const told = readdirSync(join(root, 'docs/errors')).map((name) => name.replace(/\.md$/, ''))
  assert.deepEqual(told.sort(), [...codes].sort())

  const list = readFileSync(join(root, 'docs/errors.md'), 'utf8')
  for (const code of codes) {
    assert.ok(list.includes(`[\`${code}\`](errors/${code}.md)`), `docs/errors.md does not list ${code}`)
    const text = readFileSync(join(root, 'docs/errors', `${code}.md`), 'utf8')
    assert.match(text, new RegExp(`^# ${code}$`, 'm'))
    for (const heading of ['Was it billed', 'What to do'])
      assert.match(text, new RegExp(`^## ${heading}\n\\S`, 'm'), `${code}: ${heading}`)
    // What Rust calls a bug of its own cannot be made to happen.
    if (code !== 'ERR_INTERNAL') assert.match(text, /^## An example$/m, code)
  }
  const { classes } = createRequire(import.meta.url)('../lib/errors.js')
  for (const name of Object.keys(classes))
    assert.ok(list.includes(`\`${name}\``), `docs/errors.md does not name ${name}`)
})

test('JSON in the documentation is JSON', () => {
  for (const { page, line, language, code } of blocks) {
    if (language !== 'json' || code.includes('…')) continue
    assert.doesNotThrow(() => JSON.parse(code), `${page}:${line}`)
  }
})

test('what is not run here says why, or where it is, and is little', () => {
  for (const { page, line, marks } of blocks) {
    if ('not run' in marks) assert.ok(marks['not run'].length > 20, `${page}:${line}`)
    if ('tested by' in marks)
      assert.ok(existsSync(join(root, marks['tested by'])), `${page}:${line}: ${marks['tested by']}`)
  }
  const left = blocks.filter(({ marks }) => 'not run' in marks)
  assert.ok(left.length <= blocks.length / 10, left.map(({ page, line }) => `${page}:${line}`).join(', '))
})

/** Whether all lines stand in one of the Dockerfiles that are tested. */
function isOfAnExample(code) {
  const folder = join(root, 'examples/docker')
  const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('Dockerfile')) : []
  const lines = code.split('\n').filter((text) => text.trim() !== '')
  return files.some((name) => lines.every((text) => readFileSync(join(folder, name), 'utf8').includes(text)))
}

test('every block says what it is, and is run by somebody', () => {
  // What a terminal shows is held against the command by `cli/docs.test.mjs`.
  const isRun = ({ page, language, code }) =>
    /^(js|mjs|cjs|ts|sh|json|jsonl|text)$/.test(language) ||
    (language === 'console' && page === 'docs/cli.md') ||
    (language === 'dockerfile' && isOfAnExample(code))
  const strange = blocks.filter((block) => !isRun(block) && !isElsewhere(block))
  assert.deepEqual(
    strange.map(({ page, line, language }) => `${page}:${line}: ${language || 'it has no language'}`),
    [],
    'see __test__/docs/blocks.mjs for what comments can say of a block',
  )
})

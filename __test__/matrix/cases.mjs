// What is run where. What does not do what it should is listed with the reason, and tested to do just that.

import { existsSync } from 'node:fs'
import { pinned, project } from './project.mjs'

const versions = pinned('runtimes')

/** Where to run scripts and tests: the programs' paths are under the project's `node_modules`. */
export const runtimes = [
  ...['20', '22', '24', '26'].map((major) => ({
    name: `Node ${versions[`node-${major}`]}`,
    id: `node-${major}`,
    program: `node-${major}/bin/node`,
    script: [],
    test: ['--test'],
  })),
  {
    name: `Bun ${versions['@oven/bun-linux-x64']}`,
    id: 'bun',
    program: '@oven/bun-linux-x64/bin/bun',
    script: [],
    test: ['test'],
  },
  {
    name: `Deno ${versions['@deno/linux-x64-glibc']}`,
    id: 'deno',
    program: '@deno/linux-x64-glibc/deno',
    script: ['run', '--allow-all', '--node-modules-dir=manual'],
    test: [],
  },
]

const USED = /^chat, stream, fetch$/

/**
 * Scripts that each runtime runs, and must end by itself. `except`: by runtime, what happens there instead, and why; `omit`: where it is
 * not run at all.
 * @type {{ what: string, file: string, code?: number, says: RegExp, test?: boolean, except?: Record<string, any>, omit?: string[] }[]}
 */
export const scripts = [
  { what: '`import`', file: 'esm.mjs', says: USED },
  { what: '`require`', file: 'common.cjs', says: USED },
  { what: 'exits by itself, though nothing is closed', file: 'unclosed.mjs', says: USED },
  {
    what: '`process.exit` while streams run, here and in four workers',
    file: 'exit.mjs',
    code: 7,
    says: /^in the middle$/,
  },
  {
    what: 'eight worker threads share a connection',
    file: 'workers.mjs',
    says: /^80 chats, exits 0{8}, 1 connection$/,
  },
  { what: 'read anew, time after time, in one process', file: 'anew.mjs', says: USED },
  { what: 'workers alone use it, one generation after the other', file: 'generations.mjs', says: /^exits 0{15}$/ },
  {
    what: '200 workers are terminated in mid-stream',
    file: 'terminate.mjs',
    says: /^200 workers gone, 0 failed, 0 streams left$/,
  },
  {
    what: '`node:cluster`, two workers',
    file: 'cluster.mjs',
    says: /^chat.completion true 0, chat.completion true 0 of 6 requests$/,
  },
  {
    what: '`child_process.fork`',
    file: 'fork.mjs',
    says: /^chat, stream, fetch; child: chat, stream, fetch, 0$/,
  },
  {
    what: 'TypeScript as it is',
    file: 'types.mts',
    says: /^typed$/,
    except: {
      'node-20': { code: 1, says: /ERR_UNKNOWN_FILE_EXTENSION/, why: 'Node 20 runs no TypeScript by itself.' },
    },
  },
  {
    what: 'tests by `node:test`',
    file: './runner.mjs',
    test: true,
    says: /\b(pass 3|3 pass)\b/,
    // Once in some two hundred runs `deno test` panicked after the tests had passed: docs/runtimes.md says more.
    omit: ['deno'],
  },
]

/** Of this repository's own suites, those that every Node runs: what can differ between them. */
export const suites = ['stream', 'abort', 'process', 'fetch/responses']

const node = 'node-24'
const bin = { jest: 'jest/bin/jest.js', vitest: 'vitest/vitest.mjs', mocha: 'mocha/bin/mocha.js' }
const { jest, vitest, mocha } = { ...pinned('jest'), ...pinned('vitest'), ...pinned('mocha') }
const { esbuild, webpack, rollup } = pinned('bundlers')
const { typescript, 'typescript-5': typescript5, '@arethetypeswrong/core': attw } = pinned('typescript')
const { next } = pinned('next')

/**
 * Tools, run by one Node: the steps one after the other, each of which must end by itself. `code` and `says` are of the last. What
 * is `not` said is what a tool says of handles that are left open.
 */
export const tools = [
  ...[
    ['CommonJS, one process', ['--runInBand']],
    ['CommonJS, two processes', ['--maxWorkers=2']],
    ['CommonJS, two worker threads', ['--maxWorkers=2', '--workerThreads']],
  ].map(([how, options]) => ({
    project: 'jest',
    what: `Jest ${jest}, ${how}, \`--detectOpenHandles\``,
    steps: [[bin.jest, '--ci', '--detectOpenHandles', ...options]],
    says: /Tests: +4 passed, 4 total/,
    not: /open handle|did not exit|force exited/,
  })),
  {
    project: 'jest',
    what: `Jest ${jest}, ESM`,
    flags: ['--experimental-vm-modules', '--no-warnings'],
    steps: [[bin.jest, '--ci', '--detectOpenHandles', '--config', 'jest.esm.config.cjs']],
    says: /Tests: +1 passed, 1 total/,
    not: /open handle|did not exit|force exited/,
  },
  ...['forks', 'threads', 'vmForks', 'vmThreads'].map((pool) => ({
    project: 'vitest',
    what: `Vitest ${vitest}, \`pool: '${pool}'\``,
    steps: [[bin.vitest, 'run', `--pool=${pool}`]],
    says: /Tests +4 passed \(4\)/,
    not: /close timed out|Unhandled|Worker exited/i,
  })),
  {
    project: 'mocha',
    what: `Mocha ${mocha}, CommonJS and ESM, without \`--exit\``,
    steps: [[bin.mocha, '*.spec.*']],
    says: /3 passing/,
  },
  ...[
    ['typescript', typescript],
    ['typescript-5', typescript5],
  ].flatMap(([name, version]) => [
    {
      project: 'typescript',
      what: `TypeScript ${version}, \`module: nodenext\`, ESM and CommonJS, strict, with \`skipLibCheck: false\``,
      steps: [[`${name}/bin/tsc`, '-p', 'nodenext.json'], ['./out/modules.mjs'], ['./out/common.cjs']],
      says: /^true true$/,
    },
    {
      project: 'typescript',
      what: `TypeScript ${version}, \`moduleResolution: bundler\`, strict, with \`skipLibCheck: false\``,
      steps: [[`${name}/bin/tsc`, '-p', 'bundler.json']],
      says: /^$/,
    },
  ]),
  {
    project: 'typescript',
    what: `every way to resolve the exports, by Are The Types Wrong ${attw}`,
    steps: [['./resolves.mjs', 'TARBALL']],
    says: /^\{"entrypoints":\["\.","\.\/testing","\.\/otel","\.\/package\.json"\],"problems":\[\]\}$/,
  },
  {
    project: 'bundlers',
    what: `esbuild ${esbuild}, \`--external:trunkline\``,
    steps: [
      [
        'esbuild/bin/esbuild',
        'main.js',
        '--bundle',
        '--platform=node',
        '--external:trunkline',
        '--outfile=out/esbuild.cjs',
      ],
      ['./out/esbuild.cjs'],
    ],
    says: USED,
  },
  {
    project: 'bundlers',
    what: `esbuild ${esbuild}, bundled with \`--loader:.node=copy\``,
    steps: [
      ['esbuild/bin/esbuild', 'main.js', '--bundle', '--platform=node', '--loader:.node=copy', '--outdir=out/copied'],
      ['./out/copied/main.js'],
    ],
    says: USED,
  },
  {
    project: 'bundlers',
    what: `esbuild ${esbuild}, bundled`,
    steps: [['esbuild/bin/esbuild', 'main.js', '--bundle', '--platform=node', '--outfile=out/none.cjs']],
    code: 1,
    says: /No loader is configured for "\.node" files/,
    why: 'esbuild reads no addon: make the package external, or copy the addon.',
  },
  {
    project: 'bundlers',
    what: `webpack ${webpack}, as an external`,
    steps: [['./webpack.cjs', 'external'], ['./out/webpack.cjs']],
    says: USED,
  },
  {
    project: 'bundlers',
    what: `webpack ${webpack}, bundled`,
    steps: [['./webpack.cjs']],
    code: 1,
    says: /trunkline\.[\w-]+\.node[\s\S]*Module parse failed/,
    why: 'webpack reads no addon: make the package external.',
  },
  {
    project: 'bundlers',
    what: `Rollup ${rollup}, as an external`,
    steps: [['rollup/dist/bin/rollup', '--silent', '-c', 'rollup.config.mjs'], ['./out/rollup.mjs']],
    says: /^chat.completion$/,
  },
  {
    project: 'next',
    what: `Next ${next} (Turbopack), bundled`,
    steps: [['next/dist/bin/next', 'build']],
    env: { BUNDLED: '1' },
    code: 1,
    says: /trunkline\.[\w-]+\.node[\s\S]*is not placeable/,
    why: 'Turbopack puts no addon into a bundle: name the package in `serverExternalPackages`.',
  },
]

/** The one that needs an upstream and a client: `matrix.test.mjs` says what it does. */
export const server = {
  project: 'next',
  what: `Next ${next} (Turbopack), \`serverExternalPackages\`, a route handler that streams, \`output: 'standalone'\``,
}

/** The path of a runtime's program. */
export async function program({ name, program }) {
  const path = `${(await project('runtimes')).folder}/node_modules/${program}`
  if (!existsSync(path)) throw new Error(`there is no ${name} for this platform among what projects/runtimes pins`)
  return path
}

/** The Node by which tools are run. */
export const toolsNode = runtimes.find(({ id }) => id === node)

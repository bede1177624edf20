// The licences of what is linked into the addons, on any platform: `npm run licences` writes THIRD-PARTY-LICENSES.md, which is shipped with each addon, and
// `-- --check` fails where it is not what it should be. The list is Cargo's own; the texts are those that the crates carry, C code among them.

import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { root, targets } from './targets.mjs'

const page = join(root, 'THIRD-PARTY-LICENSES.md')

/** Where one may choose, the first of these that is offered. */
const PREFERRED = ['MIT', 'Apache-2.0', 'ISC', 'BSD-3-Clause', 'BSL-1.0', 'Zlib', 'Unicode-3.0']
const TEXT = /^(licen[cs]e|copyright|notice|unlicense)/i
/** Texts that are an alternative which is not taken (zstd's GPL), or of what is not compiled in. */
const NOT_TAKEN = /^(copying|license-(unlicense|zlib|0bsd))/i
const NOT_COMPILED = /^(tests?|benches|examples?|doc|docs|contrib|fuzz|ci|\.github|programs|build|bin|prebuilt)$/i

/** All crates that are linked on some platform, by name and version. */
function linked() {
  const known = new Map()
  const metadata = JSON.parse(cargo('metadata', '--locked', '--format-version=1'))
  for (const one of metadata.packages) known.set(`${one.name} ${one.version}`, one)
  const found = new Map()
  for (const { triple } of targets) {
    // What only runs while it is compiled (build scripts, macros) is in no addon.
    const tree = cargo(
      'tree',
      '--locked',
      '--package=trunkline',
      '--edges=normal,no-proc-macro',
      '--prefix=none',
      '--format={p}',
      `--target=${triple}`,
    )
    for (const line of tree.split('\n')) {
      const [, name, version] = /^(\S+) v(\S+)/.exec(line) ?? []
      if (name && name !== 'trunkline') found.set(`${name} ${version}`, known.get(`${name} ${version}`))
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one)
}

/** @returns {string} the page */
export function licencesPage() {
  const crates = linked()
  /** By text: whose it is. @type {Map<string, string[]>} */
  const texts = new Map()
  for (const { name, version, license, manifest_path: manifest } of crates) {
    const found = textsIn(dirname(manifest), license ?? '')
    if (found.length === 0) found.push(`(The package carries no text of its licence, ${license}.)`)
    for (const text of found) texts.set(text, [...(texts.get(text) ?? []), `${name} ${version}`])
  }
  return [
    '# Licences of third parties',
    '',
    'Trunkline itself is under the MIT licence (LICENSE). Its addons have the code of the packages below in them, and of the standard library of Rust',
    '(MIT or Apache-2.0). Of a package that may be used under one of several licences, the text is that of MIT if it is among them. This page is written',
    'by `npm run licences`.',
    '',
    '| package | licence |',
    '| --- | --- |',
    ...crates.map(
      ({ name, version, license, repository }) =>
        `| ${repository ? `[${name}](${repository})` : name} ${version} | ${license} |`,
    ),
    '',
    ...[...texts].flatMap(([text, owners]) => [`## ${owners.join(', ')}`, '', '```text', text, '```', '']),
  ].join('\n')
}

/** The texts of the licence that is taken, wherever in a crate they are: C code that comes with it has its own. */
function textsIn(folder, expression) {
  const files = licenceFiles(folder, 0)
  const taken = PREFERRED.find((one) => expression.split(/[\s()/]+/).includes(one))
  const choice = /\bOR\b|\//.test(expression)
  const wanted = files.filter(({ name, depth }) => {
    if (depth > 0 || !choice || !taken) return true
    const of = /[-._](mit|apache|bsd|isc|boost|bsl|zlib|unlicense)/i.exec(name)?.[1].toLowerCase()
    return of === undefined || taken.toLowerCase().startsWith(of) || (taken === 'BSL-1.0' && of === 'boost')
  })
  const chosen = wanted.length > 0 ? wanted : files
  return [
    ...new Set(
      chosen.map(({ path }) => readFileSync(path, 'utf8').replaceAll('\r\n', '\n').replaceAll('```', "'''").trim()),
    ),
  ]
}

function licenceFiles(folder, depth) {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return depth < 4 && !NOT_COMPILED.test(entry.name) ? licenceFiles(path, depth + 1) : []
      if (!TEXT.test(entry.name) || NOT_TAKEN.test(entry.name) || /\.(rs|c|h|hpp|cpp|py|html|toml)$/i.test(entry.name))
        return []
      return [{ name: entry.name, path, depth }]
    })
}

function cargo(...args) {
  return execFileSync('cargo', args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

/** The page as it stands. */
export function writtenPage() {
  return readFileSync(page, 'utf8')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = licencesPage()
  if (!process.argv.includes('--check')) writeFileSync(page, text)
  else if (writtenPage() !== text) {
    console.error('THIRD-PARTY-LICENSES.md is not what is linked: npm run licences')
    process.exit(1)
  }
}

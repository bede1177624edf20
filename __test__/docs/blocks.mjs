// The code of the documentation, as it is run. Comments in the Markdown, right before a block or right behind it, say what a reader need not see:
//
//   <!-- given: CODE -->        runs before it, in the same module
//   <!-- then: CODE -->         behind a block: runs after it, with `assert`, and `said()` for what was printed
//   <!-- continues -->          it goes on where the block before it ended
//   <!-- with: sdks -->         it imports SDKs, and is run where those are installed
//   <!-- run as: node:test -->  it is a file of tests
//   <!-- prints -->             before a block of text: the block above prints this (`DOCS=write` writes it anew)
//   <!-- tested by: FILE -->     it is run there
//   <!-- not run: REASON -->    it is not run

import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { root } from '../support.mjs'

/** All pages that have code: the README, and what is below `docs/`. */
export function pages() {
  const below = readdirSync(join(root, 'docs'), { recursive: true }).map((name) =>
    posix.join('docs', name.replaceAll('\\', '/')),
  )
  return ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...below.filter((name) => name.endsWith('.md')).sort()]
}

/** Blocks of a page: where they stand, what they are, and what the comments around them say. */
export function blocksOf(page) {
  const text = readFileSync(join(root, page), 'utf8')
  const blocks = []
  const fences = /^( *)```(\w*)[^\n]*\n([\s\S]*?)^\1```$/gm
  for (const match of text.matchAll(fences)) {
    const [whole, indent, language, body] = match
    const before = /(?:[ \t]*<!--(?:(?!-->)[\s\S])*-->\s*\n)+[ \t]*$/.exec(text.slice(0, match.index))?.[0] ?? ''
    const behind =
      /^\n(?:[ \t]*<!-- then:(?:(?!-->)[\s\S])*-->[ \t]*\n?)+/.exec(text.slice(match.index + whole.length))?.[0] ?? ''
    const said = [
      ...`${before}${behind}`.matchAll(
        /<!--\s*(given|then|with|not run|run as|continues|prints|tested by):?([\s\S]*?)-->/g,
      ),
    ]
    blocks.push({
      page,
      line: text.slice(0, match.index).split('\n').length,
      language,
      text: body,
      code: body.replace(new RegExp(`^${indent}`, 'gm'), ''),
      marks: marksOf(said.map(([, name, value]) => [name, value.trim()])),
    })
  }
  return blocks
}

/** By name; what is said twice, one below the other. */
function marksOf(pairs) {
  const marks = {}
  for (const [name, value] of pairs) marks[name] = name in marks ? `${marks[name]}\n${value}` : value
  return marks
}

/** Whether it is run elsewhere, or not at all. */
export const isElsewhere = ({ marks }) => 'not run' in marks || 'tested by' in marks

const SCRIPTS = /^(js|mjs|cjs|ts)$/

/** What is run in one piece: a block with those that go on from it. */
export function units(blocks) {
  const all = []
  for (const block of blocks) {
    if ('prints' in block.marks) all.at(-1).prints = block.text
    if (!SCRIPTS.test(block.language) || isElsewhere(block)) continue
    const source = [block.marks.given, block.code, block.marks.then].filter(Boolean).join('\n')
    if ('continues' in block.marks) {
      all.at(-1).source += `\n${source}`
      continue
    }
    const { page, line, language, marks } = block
    // What requires is a script, as it says; all else is a module.
    const isScript = /\brequire\(/.test(block.code) && !/^import /m.test(block.code)
    const extension = language === 'ts' ? 'ts' : isScript ? 'cjs' : 'mjs'
    all.push({
      name: `${page}:${line}`,
      extension,
      source,
      how: marks['run as'] ?? 'module',
      sdks: marks.with === 'sdks',
    })
  }
  return all
}

// The documentation site, from the Markdown of the repository, the typings and what rustdoc says: static pages that need nothing from elsewhere. `build` gives what it wrote.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import MiniSearch from 'minisearch'
import { names, placeOf, sections } from './contents.mjs'
import { layout } from './layout.mjs'
import { parse, render, renderSource } from './markdown.mjs'
import { writeReference } from './reference.mjs'
import { searchOptions } from './search.mjs'

export const root = fileURLToPath(new URL('..', import.meta.url))
const here = fileURLToPath(new URL('.', import.meta.url))

/** The first page of rustdoc's own, which has a layout and a search of its own. */
const RUST = { place: 'rust/trunkline/index.html', name: 'The Rust underneath' }

/**
 * `rust`: the folder that rustdoc wrote.
 *
 * @param {{ out?: string, rust?: string }} [options]
 * @returns {Promise<{ pages: string[], files: string[], broken: string[] }>}
 */
export async function build({ out = join(root, 'target/site'), rust } = {}) {
  const work = `${out}-build`
  for (const folder of [out, work]) rmSync(folder, { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  const pages = gather(join(work, 'reference'), await writeReference(root, join(work, 'reference')))
  const navigation = navigationOf(pages, rust ? [RUST] : [])
  if (rust) cpSync(rust, join(out, 'rust'), { recursive: true })
  const site = new Site(out, pages)
  for (const page of pages) {
    const { html, headings } = render(page.tokens, (link) => site.follow(page, link))
    page.anchors = new Set(headings.map(({ id }) => id))
    page.headings = headings
    site.write(page.place, layout({ ...page, html, navigation }))
  }
  site.writeSources(navigation)
  for (const name of ['style.css', 'page.js', 'theme.js']) cpSync(join(here, 'assets', name), join(out, name))
  const minisearch = fileURLToPath(import.meta.resolve('minisearch')).replace(/es\/index\.js$/, 'umd/index.js')
  writeFileSync(join(out, 'search.js'), searchScript(readFileSync(minisearch, 'utf8'), pages))
  return { pages: pages.map(({ place }) => place), files: [...site.written], broken: site.broken() }
}

/** All pages with what they say, in the order of the contents. */
function gather(folder, reference) {
  const all = new Map()
  for (const name of ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])
    all.set(name, join(root, name))
  for (const name of readdirSync(join(root, 'docs'), { recursive: true }).sort())
    if (name.endsWith('.md')) all.set(posix.join('docs', name.replaceAll('\\', '/')), join(root, 'docs', name))
  for (const name of reference) all.set(posix.join('reference', name), join(folder, name))

  const pages = []
  const add = (section, path) => {
    const tokens = parse(readFileSync(all.get(path), 'utf8'))
    const title = tokens.title ?? path
    pages.push({ section, path, place: placeOf(path), tokens, title, name: names[path] ?? title })
    all.delete(path)
  }
  for (const { title, pages: wanted } of sections) {
    for (const entry of wanted) {
      const [, path = entry] = /^\[(.*)\]$/.exec(entry) ?? []
      if (path.endsWith('/*'))
        for (const name of [...all.keys()].filter((name) => name.startsWith(path.slice(0, -1)))) add(title, name)
      else if (all.has(path)) add(title, path)
      else if (path === entry) throw new Error(`site/contents.mjs names ${path}, which is not there`)
    }
  }
  for (const path of [...all.keys()]) add('More', path)
  return pages
}

/** Sections with the pages that the navigation shows. Of the reference those of modules alone, which list the others, and what is made by another hand. */
function navigationOf(pages, reference) {
  const titles = [...new Set(pages.map(({ section }) => section))]
  return titles.map((title) => ({
    title,
    pages: [
      ...pages.filter(
        ({ section, path }) => section === title && (section !== 'Reference' || path.endsWith('/index.md')),
      ),
      ...(title === 'Reference' ? reference : []),
    ],
  }))
}

/** What was written, and what leads where. */
class Site {
  written = new Set()
  #out
  #pages
  #links = []
  #sources = new Map()

  constructor(out, pages) {
    this.#out = out
    this.#pages = new Map(pages.map((page) => [page.path, page]))
  }

  write(place, text) {
    const file = join(this.#out, place)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    this.written.add(place)
  }

  /** Where a link or picture of a page leads on the site; null for a picture that is not measured yet. What is in the repository and no page is copied, or shown as a page. */
  follow(page, link) {
    if (/^[a-z]+:/i.test(link)) {
      this.#links.push({ from: page.path, link, outside: true })
      return link
    }
    const [path, anchor] = link.split('#')
    const target = path === '' ? page.path : posix.join(posix.dirname(page.path), path).replace(/\/$/, '')
    const known = this.#pages.get(target)
    const place = known?.place ?? this.#copy(target)
    // What is measured is written by the command that measures, and is not there before.
    if (place === undefined && target.startsWith('benchmark/results/')) return null
    this.#links.push({ from: page.path, link, page: known, anchor, missing: place === undefined })
    if (place === undefined) return link
    const to = path === '' ? '' : posix.relative(posix.dirname(page.place), place)
    return anchor ? `${to}#${anchor}` : to
  }

  #copy(path) {
    const file = join(root, path)
    if (path.startsWith('..') || !existsSync(file)) return undefined
    if (statSync(file).isDirectory() || /\.(m?js|ts|rs|sh)$/.test(path)) {
      const place = `source/${path.toLowerCase()}.html`
      this.#sources.set(path, place)
      return place
    }
    const place = `files/${path.replace(/^docs\//, '')}`
    mkdirSync(dirname(join(this.#out, place)), { recursive: true })
    cpSync(file, join(this.#out, place))
    this.written.add(place)
    return place
  }

  /** Pages of what is code: what was linked, and of a folder all that is in it. */
  writeSources(navigation) {
    for (const [path] of this.#sources)
      if (statSync(join(root, path)).isDirectory())
        for (const name of readdirSync(join(root, path)))
          if (/\.(m?js|ts)$/.test(name)) this.#copy(posix.join(path, name))
    for (const [path, place] of this.#sources) {
      const html = statSync(join(root, path)).isDirectory()
        ? `<ul>${[...this.#sources]
            .filter(([name]) => posix.dirname(name) === path)
            .map(
              ([name, to]) =>
                `<li><a href="${posix.relative(posix.dirname(place), to)}">${posix.basename(name)}</a></li>`,
            )
            .join('')}</ul>`
        : renderSource(readFileSync(join(root, path), 'utf8'), path)
      this.write(place, layout({ place, title: path, html: `<h1>${path}</h1>${html}`, navigation, headings: [] }))
    }
  }

  /** Links that lead nowhere, and addresses elsewhere that `outside.txt` does not list. */
  broken() {
    const listed = new Set(
      readFileSync(join(here, 'outside.txt'), 'utf8')
        .split('\n')
        .filter((line) => line && !line.startsWith('#')),
    )
    return this.#links.flatMap(({ from, link, page, anchor, missing, outside }) => {
      if (outside) return listed.has(link.split('#')[0]) ? [] : [`${from}: ${link} is not in site/outside.txt`]
      if (missing) return [`${from}: ${link} is not there`]
      if (anchor && page && !page.anchors.has(anchor)) return [`${from}: ${link} has no such heading`]
      return []
    })
  }
}

/** Headings of TypeDoc's own. */
const structural =
  /^(Properties|Methods|Constructors?|Accessors|Parameters|Returns|Throws|Extends|Extended by|Implements|Implementation of|Inherited from|Overrides|Type Parameters|Default Value|Type Declaration|Indexable|Call Signature|Classes|Interfaces|Functions|Variables|Type Aliases|Modules|.*\..*|options\??|request|body|path)$/

/** The index and who reads it, as one script: it works from a disk as well, where pages may not fetch. */
function searchScript(minisearch, pages) {
  const search = new MiniSearch(searchOptions)
  let id = 0
  for (const { place, name, headings, tokens, section } of pages) {
    for (const [at, { id: anchor, title }] of headings.entries()) {
      // Of the reference the names: what it says stands there, and the guides say it at more length.
      const isReference = section === 'Reference'
      if (isReference && at > 0 && structural.test(title)) continue
      const text = isReference ? '' : (tokens.texts[at] ?? '')
      search.add({ id: id++, page: name, title, section, text, place: at === 0 ? place : `${place}#${anchor}` })
    }
  }
  const index = JSON.stringify(search).replaceAll('<', '\\u003c')
  return `${minisearch}\nwindow.trunklineSearch = MiniSearch.loadJSON(${JSON.stringify(index)}, ${JSON.stringify(searchOptions)})\n`
}

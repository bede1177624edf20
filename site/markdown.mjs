// Markdown as GitHub reads it, with headings that can be linked to and code that is coloured when the site is built.

import hljs from 'highlight.js/lib/core'
import bash from 'highlight.js/lib/languages/bash'
import javascript from 'highlight.js/lib/languages/javascript'
import json from 'highlight.js/lib/languages/json'
import python from 'highlight.js/lib/languages/python'
import rust from 'highlight.js/lib/languages/rust'
import typescript from 'highlight.js/lib/languages/typescript'
import yaml from 'highlight.js/lib/languages/yaml'
import MarkdownIt from 'markdown-it'

const languages = { bash, javascript, json, python, rust, typescript, yaml }
for (const [name, language] of Object.entries(languages)) hljs.registerLanguage(name, language)

const markdown = new MarkdownIt({ html: true, linkify: false, typographer: false })

/** Tokens, with the `title` of the page, and the plain `texts` below each heading, for the search. */
export function parse(text) {
  const tokens = markdown.parse(text, {})
  const seen = new Map()
  tokens.headings = []
  tokens.texts = []
  for (const [at, token] of tokens.entries()) {
    if (token.type === 'heading_open') {
      const title = plain(tokens[at + 1])
      const id = unique(slug(title), seen)
      token.attrSet('id', id)
      tokens.headings.push({ id, title, level: Number(token.tag.slice(1)) })
      tokens.texts.push('')
    } else if (token.type === 'inline' && tokens[at - 1]?.type !== 'heading_open') {
      if (tokens.texts.length > 0) tokens.texts[tokens.texts.length - 1] += `${plain(token)} `
    }
  }
  tokens.title = tokens.headings[0]?.title
  return tokens
}

/** HTML. `follow` says where a link leads. */
export function render(tokens, follow) {
  return { html: markdown.renderer.render(tokens, markdown.options, { follow }), headings: tokens.headings }
}

/** A file of code, as HTML. */
export function renderSource(text, path) {
  return code(text, path.split('.').at(-1))
}

const { rules } = markdown.renderer
rules.link_open = (tokens, at, options, env, self) => {
  const token = tokens[at]
  const href = env.follow(token.attrGet('href'))
  if (href === null) token.attrs = null
  else token.attrSet('href', href)
  return self.renderToken(tokens, at, options)
}
const image = rules.image
rules.image = (tokens, at, options, env, self) => {
  const src = env.follow(tokens[at].attrGet('src'))
  if (src === null) return `<em>${markdown.utils.escapeHtml(tokens[at].content)}: not measured yet</em>`
  tokens[at].attrSet('src', src)
  return image(tokens, at, options, env, self)
}
rules.heading_open = (tokens, at, options, _env, self) => self.renderToken(tokens, at, options)
rules.heading_close = (tokens, at, options, _env, self) => {
  let open = at
  while (tokens[open].type !== 'heading_open') open--
  const id = tokens[open].attrGet('id')
  const title = markdown.utils.escapeHtml(plain(tokens[open + 1]))
  return `<a class="anchor" href="#${id}" aria-label="Link to ${title}">#</a>${self.renderToken(tokens, at, options)}`
}
// Wide tables are scrolled by themselves, and never the page.
rules.table_open = () => '<div class="table" tabindex="0" role="region" aria-label="table"><table>\n'
rules.table_close = () => '</table></div>\n'
// Columns of figures: by a class, since no page has a style of its own.
for (const name of ['th_open', 'td_open'])
  rules[name] = (tokens, at, options, _env, self) => {
    const token = tokens[at]
    const [, side] = /text-align: *(\w+)/.exec(token.attrGet('style') ?? '') ?? []
    token.attrs = side ? [['class', side]] : null
    return self.renderToken(tokens, at, options)
  }
rules.fence = (tokens, at) => code(tokens[at].content, tokens[at].info.trim().split(/\s+/)[0])
rules.code_block = (tokens, at) => code(tokens[at].content, 'text')
// Comments are for those who look after a page, and for the tests of its code.
rules.html_block = (tokens, at) => tokens[at].content.replace(/<!--[\s\S]*?-->\n?/g, '')
rules.html_inline = rules.html_block

const aliases = {
  js: 'javascript',
  mjs: 'javascript',
  ts: 'typescript',
  sh: 'bash',
  py: 'python',
  rs: 'rust',
  yml: 'yaml',
}

function code(text, name) {
  const language = aliases[name] ?? name
  const html = hljs.getLanguage(language) ? hljs.highlight(text, { language }).value : markdown.utils.escapeHtml(text)
  return `<div class="code"><pre tabindex="0"><code>${html}</code></pre></div>\n`
}

/** What an inline token says, without marks. */
function plain(token) {
  return (token.children ?? [])
    .map((child) =>
      child.type === 'softbreak'
        ? ' '
        : child.type === 'image'
          ? ''
          : /^(text|code_inline)$/.test(child.type)
            ? child.content
            : '',
    )
    .join('')
}

/** As GitHub makes them. */
function slug(title) {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '')
    .replaceAll(' ', '-')
}

function unique(id, seen) {
  const times = seen.get(id) ?? 0
  seen.set(id, times + 1)
  return times === 0 ? id : `${id}-${times}`
}

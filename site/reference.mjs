// The reference: TypeDoc's reading of the typings, as Markdown, so that it has the layout, the search and the checked links of all other pages.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Application, TSConfigReader } from 'typedoc'

/** Writes Markdown into a folder. Gives the names of the files. Throws where the typings say something that TypeDoc does not understand. */
export async function writeReference(root, folder) {
  mkdirSync(folder, { recursive: true })
  const tsconfig = join(folder, '../tsconfig.json')
  const entries = ['index.d.ts', 'testing.d.ts', 'otel.d.ts'].map((name) => join(root, name))
  writeFileSync(
    tsconfig,
    JSON.stringify({ extends: join(root, '__test__/types/tsconfig.json'), files: entries, include: [] }),
  )
  const app = await Application.bootstrapWithPlugins(
    {
      plugin: ['typedoc-plugin-markdown'],
      entryPoints: entries,
      tsconfig,
      out: folder,
      readme: 'none',
      disableSources: true,
      excludePrivate: true,
      excludeExternals: true,
      logLevel: 'Warn',
      treatWarningsAsErrors: true,
      hideBreadcrumbs: true,
      hidePageHeader: true,
      entryFileName: 'index',
      useCodeBlocks: true,
      pageTitleTemplates: { index: 'Reference', module: '{name}', member: '{name}' },
    },
    [new TSConfigReader()],
  )
  const project = await app.convert()
  if (!project) throw new Error('TypeDoc could not read the typings')
  await app.generateOutputs(project)
  if (app.logger.hasErrors() || app.logger.hasWarnings()) throw new Error('TypeDoc has complaints, above')
  const names = readdirSync(folder, { recursive: true })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.md'))
  for (const name of names) {
    // A rule between all members is more than headings need. What the typings say of a page leads to it.
    const up = '../'.repeat(depth(name))
    const text = readFileSync(join(folder, name), 'utf8')
      .replaceAll('\n***\n', '')
      .replace(/`?(docs\/[\w/-]+\.md)`?/g, (_, page) => `[${page}](${up}${page})`)
    writeFileSync(join(folder, name), text)
  }
  return names.sort((a, b) => depth(a) - depth(b) || a.localeCompare(b))
}

const depth = (name) => name.split('/').length

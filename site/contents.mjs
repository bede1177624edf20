// What stands where on the site. A page of `docs/` that is not named here comes last, so that none is lost.

/** Pages by section, in the order in which they are read; those in brackets may be missing. */
export const sections = [
  {
    title: 'Start',
    pages: ['README.md', 'docs/guides/quick-start.md', 'docs/calls.md', 'docs/options.md', 'docs/errors.md'],
  },
  {
    title: 'Guides',
    pages: [
      'docs/guides/streaming-to-a-browser.md',
      'docs/guides/batch.md',
      'docs/batch-files.md',
      'docs/provider-batches.md',
      'docs/guides/fall-back.md',
      'docs/guides/limits-and-priorities.md',
      'docs/costs.md',
      'docs/caching.md',
      'docs/testing.md',
      'docs/observability.md',
      'docs/metrics.md',
      'docs/dashboard.md',
      'docs/guides/workers.md',
      'docs/guides/serverless.md',
      'docs/guides/proxies.md',
      'docs/shared.md',
      'docs/cli.md',
    ],
  },
  {
    title: 'Moving here',
    pages: [
      'docs/guides/from-openai.md',
      'docs/guides/from-ai.md',
      'docs/guides/from-litellm.md',
      'docs/guides/from-undici.md',
      'docs/sdks.md',
    ],
  },
  {
    title: 'How it behaves',
    pages: [
      'docs/scheduling.md',
      'docs/fetch.md',
      'docs/protocols/openai.md',
      'docs/protocols/anthropic.md',
      'docs/protocols/gemini.md',
      'docs/runtimes.md',
      'docs/platforms.md',
    ],
  },
  { title: 'Errors by code', pages: ['docs/errors/*'] },
  { title: 'Reference', pages: ['reference/*'] },
  {
    title: 'Performance',
    pages: ['[docs/performance.md]', '[docs/benchmark.md]', '[docs/network.md]', '[docs/scale.md]'],
  },
  { title: 'Design', pages: ['ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md'] },
]

/** Names in the navigation, where the heading of a page is too long for it. */
export const names = {
  'README.md': 'Trunkline',
  'ARCHITECTURE.md': 'Design',
  'docs/cli.md': 'The command',
  'docs/scheduling.md': 'Scheduling',
  'docs/sdks.md': 'Under your SDK',
  'docs/shared.md': 'Many processes',
  'docs/testing.md': 'Testing',
  'docs/observability.md': 'Observability',
  'docs/metrics.md': 'Metrics',
  'docs/protocols/openai.md': 'OpenAI’s protocol',
  'docs/protocols/anthropic.md': 'Anthropic’s protocol',
  'docs/protocols/gemini.md': 'Gemini’s protocol',
}

/** Where a page of the repository is on the site. */
export function placeOf(path) {
  if (path === 'README.md') return 'index.html'
  if (path === 'ARCHITECTURE.md') return 'design.html'
  return path
    .replace(/^docs\//, '')
    .replace(/\.md$/, '.html')
    .toLowerCase()
}

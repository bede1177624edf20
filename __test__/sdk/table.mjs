// What the suites promise, by row, and of whom, by column: the table of docs/sdks.md.

/** Whom: the suite's file, what the table calls it, and the packages that it is made of. */
export const SDKS = [
  { suite: 'openai', title: '`openai`', packages: ['openai'] },
  { suite: 'anthropic', title: '`@anthropic-ai/sdk`', packages: ['@anthropic-ai/sdk'] },
  {
    suite: 'ai',
    title: '`ai`',
    packages: ['ai', '@ai-sdk/openai-compatible', '@ai-sdk/openai', '@ai-sdk/anthropic'],
  },
  { suite: 'langchain', title: '`@langchain/openai`', packages: ['@langchain/openai', '@langchain/core'] },
]

/** What: as the suites name their promises, and what the table says of it. */
export const ROWS = {
  chat: 'answers as a whole, with their headers and request ids',
  streams: 'streams: every event in its order, left early, split in two',
  tools: 'tools, and loops that call them',
  structured: 'structured output',
  embeddings: 'embeddings',
  files: 'files and recordings, up as forms and down as bytes',
  lists: 'lists, page by page',
  errors: 'each class of error, with its status, headers and words',
  connection: 'connections that are refused, or break before, in and after the head',
  retries: 'retries of its own: as many, after what, announced how',
  timeouts: 'timeouts of its own',
  aborts: 'aborts: before, during, and in a stream',
  global: '`globalThis.fetch = line.fetch`',
  pool: 'one warm pool under it: connections, limits, priorities, figures',
}

// Sixteen faults that providers have, as a public benchmark of fail-over lists them, and what each of them demands: who is asked how often, after
// which waits, and what the caller ends with. All times are of the full length.

/** Every request to the primary meets it. */
const always = { times: 1000 }

/** The words in which each protocol says that it will not have a request for its content. */
const FILTERED = {
  openai: {
    error: {
      message: 'The prompt was filtered.',
      type: 'invalid_request_error',
      param: 'prompt',
      code: 'content_filter',
    },
  },
  anthropic: {
    type: 'error',
    error: { type: 'invalid_request_error', message: 'Output blocked by content filtering policy' },
  },
  gemini: { error: { code: 400, status: 'INVALID_ARGUMENT', message: 'The prompt contains sensitive words.' } },
}

/** A 429 that says when to come back: in seconds at full length, finer than HTTP has it where time is short. */
function limited(protocol, wait) {
  if (protocol === 'gemini') {
    const info = { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${wait / 1000}s` }
    const error = { code: 429, status: 'RESOURCE_EXHAUSTED', message: 'Resource has been exhausted.', details: [info] }
    return { kind: 'status', status: 429, body: { error } }
  }
  const headers = wait % 1000 === 0 ? { 'retry-after': `${wait / 1000}` } : { 'retry-after-ms': `${wait}` }
  return { kind: 'status', status: 429, headers }
}

const broken = {
  restart: { restarts: 3 },
  continue: { primary: 1, backup: 1, prefilled: true },
  none: { primary: 1, backup: 0, interrupted: true },
}

/**
 * `faults`: what the primary does. `primary`, `backup`: how often each is asked; `ways` has what differs with the way of asking, null where the
 * fault means nothing. `gaps`: waits at the primary: `backoff`, or milliseconds at least. `after`: the fall-back is asked so long after the primary,
 * and no sooner. `within`: an answer no later than that.
 */
export const FAULTS = [
  {
    name: '429 with Retry-After',
    faults: ({ t, pair }) => [[limited(pair.primary, t(2000)), { times: 1 }]],
    primary: 2,
    backup: 0,
    gaps: 2000,
  },
  {
    name: '429 without Retry-After',
    faults: () => [[{ kind: 'status', status: 429 }, always]],
    primary: 3,
    backup: 1,
    gaps: 'backoff',
  },
  {
    name: 'one 500',
    faults: () => [[{ kind: 'status', status: 500 }, { times: 1 }]],
    primary: 2,
    backup: 0,
    gaps: 'backoff',
  },
  {
    name: 'lasting 503',
    faults: () => [[{ kind: 'status', status: 503 }, always]],
    primary: 3,
    backup: 1,
    gaps: 'backoff',
  },
  {
    name: 'reset',
    faults: () => [[{ kind: 'reset' }, always]],
    primary: 3,
    backup: 1,
    gaps: 'backoff',
  },
  {
    name: 'silence',
    limit: 10_000,
    faults: () => [[{ kind: 'silence' }, always]],
    primary: 1,
    backup: 1,
    after: 10_000,
    within: 12_000,
    // What comes whole may think as long as the call may last.
    ways: { chat: null },
  },
  {
    name: '20 s to the first token',
    limit: 10_000,
    faults: ({ t }) => [[{ kind: 'slow', firstToken: t(20_000) }, always]],
    primary: 1,
    backup: 1,
    after: 10_000,
    within: 12_000,
    ways: { chat: { primary: 1, backup: 0, after: undefined, within: 22_000 } },
  },
  {
    name: 'cut at 40 of 60 tokens',
    faults: () => [[{ kind: 'cut', afterTokens: 40 }, always]],
    primary: 3,
    backup: 1,
    gaps: 'backoff',
    ways: broken,
  },
  {
    name: '30 s stall',
    limit: 10_000,
    faults: ({ t }) => [[{ kind: 'stall', afterTokens: 40, for: t(30_000) }, always]],
    primary: 1,
    backup: 1,
    after: 10_000,
    within: 12_000,
    ways: { ...broken, restart: { restarts: 1 } },
  },
  {
    name: 'malformed event',
    faults: () => [[{ kind: 'malformed', atEvent: 40 }, always]],
    primary: 3,
    backup: 1,
    ways: { ...broken, chat: { primary: 1, backup: 1 } },
  },
  {
    name: 'no [DONE]',
    faults: () => [[{ kind: 'no-done' }, always]],
    primary: 1,
    backup: 0,
    isFor: ({ primary }) => primary !== 'gemini',
  },
  {
    name: 'context length',
    upstreams: { primary: { models: { 'primary-model': { maxInputTokens: 5 } } } },
    targets: { backup: { maxInputTokens: 1_000_000 } },
    faults: () => [],
    primary: 1,
    backup: 1,
  },
  {
    name: 'content filter',
    faults: ({ pair }) => [[{ kind: 'status', status: 400, body: FILTERED[pair.primary] }, always]],
    primary: 1,
    backup: 0,
    error: 'ContentFilterError',
  },
  {
    name: 'fall-back that refuses a prefill',
    upstreams: { backup: { prefill: false } },
    faults: () => [[{ kind: 'cut', afterTokens: 40 }, always]],
    primary: 3,
    backup: 1,
    // Said to take one, and then it does not: the text so far is not lost.
    ways: { ...broken, continue: { primary: 1, backup: 1, prefilled: true, interrupted: true } },
  },
  { name: '60 s outage', outage: 60_000, recovered: 15_000, fault: { kind: 'status', status: 503 } },
  {
    name: 'accounting',
    faults: () => [
      [{ kind: 'status', status: 500 }, { times: 1 }],
      [{ kind: 'cut', afterTokens: 40 }, { times: 1 }],
      [{ kind: 'status', status: 429 }, { times: 1 }],
    ],
    primary: 3,
    backup: 1,
    billed: ['maybe', 'maybe', 'no', 'yes'],
    ways: {
      restart: { restarts: 1 },
      continue: { primary: 2, backup: 1, billed: ['maybe', 'maybe', 'yes'], prefilled: true },
      none: { primary: 2, backup: 0, billed: ['maybe', 'maybe'], interrupted: true },
    },
  },
]

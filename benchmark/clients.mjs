// The clients, each as its documentation shows it. All but impit trust the upstream through NODE_EXTRA_CA_CERTS.
//
// A client is made by its name from `url`, `http2` and `connections`, which is as many as calls at once. It has `chat(body)`, which resolves
// with the completion or, where it has `said(answer)`, with what it makes of it; `stream(body)`, which resolves with what the deltas said; and its
// `version`.

import { http } from './clients/http.mjs'
import { ours } from './clients/ours.mjs'
import { sdks } from './clients/sdks.mjs'

export const clients = { ...http, ...sdks, ...ours, nothing }

/** Answers by itself: what is left is the bench. */
function nothing() {
  const answer = { choices: [{ message: { content: 'nothing' } }] }
  return { version: null, chat: async () => answer }
}

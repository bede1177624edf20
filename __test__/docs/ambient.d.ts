// What the blocks of TypeScript in the documentation have, as `perform.mjs` gives it.

import type nodeAssert from 'node:assert/strict'
import type { ChatMessage, ChatRequest, Trunkline as Client } from 'trunkline'
import type { MockUpstream as Upstream } from 'trunkline/testing'

declare global {
  const assert: typeof nodeAssert
  const upstream: Upstream
  const line: Client
  const request: ChatRequest
  const messages: ChatMessage[]
  function said(): string
}

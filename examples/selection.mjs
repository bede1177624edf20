// A small model for simple questions, a large one for hard questions: `select` looks at the request and names a route.
//
// The classifier below is ready to be copied. It costs microseconds and knows nothing but words, so it errs: measure it on questions
// of your own, and move its thresholds. It runs on JavaScript's thread, before the call is sent.

import { Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const CODE =
  /```|\b(function|class|def|import|SELECT|async|await|regex|stack ?trace|segfault|compile[rs]?|refactor)\b|[{};]\s*$/m
const MATHS =
  /\b(prove|proof|theorem|integral|derivative|equations?|probability|matrix|eigen\w*|optimi[sz]e)\b|[∑∫√≤≥]|\d\s*[*^/]\s*\d/i
const REASONING =
  /\b(why|explain|compare|analy[sz]e|design|plan|trade-?offs?|step by step|evaluate|argue|implications?|architecture)\b/i
const SIMPLE = /^\s*(hi|hello|thanks|thank you|what is|who is|when (is|was)|where is|translate|define|spell|list)\b/i

/** How hard a chat's request looks: 'simple', 'medium' or 'hard'. */
export function difficulty({ messages = [], tools = [], response_format, reasoning_effort }) {
  // Who asks for effort has said it.
  if (reasoning_effort === 'high' || reasoning_effort === 'xhigh' || reasoning_effort === 'max') return 'hard'
  const question = textOf(messages.findLast(({ role }) => role === 'user'))
  const context = messages.reduce((sum, message) => sum + textOf(message).length, 0)
  let score = 0
  if (question.length > 300) score += 1
  if (question.length > 1500) score += 1
  // About four characters are a token.
  if (context > 24_000) score += 1
  if (CODE.test(question)) score += 2
  if (MATHS.test(question)) score += 2
  if (REASONING.test(question)) score += 1
  if (tools.length > 0) score += 1
  if (tools.length > 5) score += 1
  if (response_format?.type === 'json_schema') score += 1
  if (messages.some(({ content }) => Array.isArray(content) && content.some(({ type }) => type !== 'text'))) score += 1
  if (SIMPLE.test(question) && question.length < 120) score -= 1
  if (score >= 3) return 'hard'
  return score >= 1 ? 'medium' : 'simple'
}

function textOf(message) {
  const content = message?.content ?? ''
  if (typeof content === 'string') return content
  return content.map((part) => part.text ?? '').join('\n')
}

const upstream = await MockUpstream.start()
const line = new Trunkline({
  providers: { main: { baseURL: `${upstream.url}/v1`, apiKey: 'sk-example' } },
  routes: {
    // What the program asks for; it names one of the routes below.
    auto: { select: difficulty },
    simple: { provider: 'main', model: 'small-1' },
    medium: { provider: 'main', model: 'medium-1' },
    // A hard question falls back to the medium model where the large one fails.
    hard: [
      { provider: 'main', model: 'large-1' },
      { provider: 'main', model: 'medium-1' },
    ],
  },
})

const questions = [
  'What is the capital of Norway?',
  'Thanks!',
  'Compare trains and planes for a trip from Paris to Rome.',
  'Why does this fail?\n```js\nconst a = await fetch(url)\n```',
  'Prove that there are infinitely many primes, and explain each step.',
]
for (const content of questions) {
  const { model } = await line.chat({ model: 'auto', messages: [{ role: 'user', content }] })
  console.log(`${model.padEnd(8)} ${content.split('\n')[0]}`)
}

await line.close()
await upstream.close()

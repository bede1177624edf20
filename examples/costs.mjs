// What calls cost, what they may, and what pooling saves: `costs()`, `budget` and `savings()`.

import { BudgetExceededError, Trunkline } from 'trunkline'
import { MockUpstream } from 'trunkline/testing'

const upstream = await MockUpstream.start()
upstream.reply(
  {},
  { content: 'A trunk line is shared.', usage: { prompt_tokens: 900, completion_tokens: 350, total_tokens: 1250 } },
)

const line = new Trunkline({
  baseURL: `${upstream.url}/v1`,
  apiKey: 'sk-example',
  // At a vendor's own address list prices are known. This is a relay, so it says what it charges, or whose model it charges as.
  pricing: { fast: 'gpt-4o-mini', smart: { input: 3, cachedInput: 0.3, output: 15 } },
  // In dollars. Each call speaks for what it may come to, so that calls side by side do not go beyond it together.
  budget: { limit: 0.1, window: 'day', perTenant: 0.05, alertAt: [0.5, 1] },
})
line.on('budget', ({ scope, name, share, spent, limit }) =>
  console.log(`event: ${name ?? scope} has spent ${spent.toFixed(4)} of ${limit.toFixed(2)}, ${share * 100} %`),
)

const ask = (model, tenant) => {
  const messages = [{ role: 'user', content: 'What is a trunk line?' }]
  return line.chat({ model, messages, max_tokens: 400 }, { tenant }).withMeta()
}

for (const model of ['fast', 'smart']) {
  const { meta } = await ask(model, 'acme')
  console.log(`${model}: ${meta.usage.total_tokens} tokens, $${meta.cost.toFixed(6)}`)
}

// Until one of the two tenants has nothing left.
try {
  for (;;) await ask('smart', 'zeta')
} catch (error) {
  if (!(error instanceof BudgetExceededError)) throw error
  console.log(`refused, and nothing sent: ${error.message}`)
}
await ask('fast', 'acme')

console.log(`\n${line.costs({ window: 'day' })}\n`)
// With what an hour of waiting costs you, the time is worth something too.
console.log(`${line.savings({ hourlyCost: 2 })}`)

await line.close()
await upstream.close()

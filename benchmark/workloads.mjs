// What is asked of every client. Bodies differ from call to call, so that nothing is answered from memory.

/** What each stream says: this many events, of about 260 bytes each on the wire. */
export const EVENTS = 200
export const WORDS = Array.from(
  { length: EVENTS },
  (_, at) => `piece ${String(at).padStart(3, '0')} of a long answer `,
).join('')

export const body = (number) => ({
  model: 'gpt-4o-mini',
  messages: [
    { role: 'system', content: 'You are a helpful assistant. Answer briefly.' },
    { role: 'user', content: `Question number ${number}: what is the capital of country number ${number}?` },
  ],
  temperature: 0.7,
  max_tokens: 100,
})

const peers = ['undici', 'fetch', 'undici fetch', 'axios', 'impit', 'openai', 'openai over undici', 'anthropic', 'ai']
const chats = [...peers, 'trunkline', 'trunkline all on']
const streams = [...chats, 'trunkline text', 'trunkline text all on']
const fetches = ['trunkline fetch', 'trunkline under openai']

/** `upstream`: which of those in `upstreams`. `unit`: what is counted. `calls`, `rounds`: no more than these. */
export const workloads = [
  {
    id: 'chat',
    title: 'chat, 64 at once, HTTP/1.1',
    upstream: 'plain',
    unit: 'call',
    atOnce: 64,
    clients: [...chats, ...fetches],
  },
  {
    id: 'chat-tls',
    title: 'chat, 64 at once, TLS, HTTP/1.1',
    upstream: 'tls',
    unit: 'call',
    atOnce: 64,
    clients: chats,
  },
  {
    id: 'chat-h2',
    title: 'chat, 64 at once, TLS, HTTP/2',
    upstream: 'h2',
    http2: true,
    unit: 'call',
    atOnce: 64,
    clients: ['undici', 'undici on one socket', ...chats.slice(1)],
  },
  { id: 'one', title: 'chat, one after another, HTTP/1.1', upstream: 'plain', unit: 'call', atOnce: 1, clients: chats },
  {
    id: 'stream',
    title: `streams of ${EVENTS} events, 32 at once`,
    upstream: 'plain',
    unit: 'stream',
    atOnce: 32,
    clients: [...streams, ...fetches],
  },
  {
    id: 'paced',
    title: '500 streams at once, of 50 tokens a second',
    upstream: 'paced',
    unit: 'stream',
    atOnce: 500,
    calls: 500,
    rounds: 3,
    clients: streams,
  },
]

const longAnswer = [[{ stream: true }, { content: WORDS, chunks: EVENTS }]]

/** `hasty`: what differs where only the answers matter. */
export const upstreams = {
  plain: { options: { record: false }, replies: longAnswer },
  tls: { options: { record: false, tls: true, http2: false }, replies: longAnswer },
  h2: { options: { record: false, tls: true }, replies: longAnswer },
  paced: { options: { record: false, tokensPerSecond: 50 }, hasty: { tokensPerSecond: 5000 }, replies: longAnswer },
}

// Types of this package and of the `openai` package are assignable in both directions.

import type OpenAI from 'openai'
import type {
  ChatCompletion,
  ChatCompletionChoice,
  ChatCompletionChunk,
  ChatCompletionChunkChoice,
  ChatCompletionMessage,
  ChatMessage,
  ChatRequest,
  ChatTool,
  ChatToolChoice,
  Embedding,
  EmbeddingRequest,
  EmbeddingResponse,
  ToolCall,
  ToolCallDelta,
  Trunkline,
  Usage,
  UserPart,
} from 'trunkline'

type Theirs = OpenAI.Chat.Completions.ChatCompletion

/** Fails where `From` cannot be passed for `To`. */
declare function passes<To, From extends To>(from?: From): To

// Theirs are taken.
passes<ChatRequest, OpenAI.Chat.Completions.ChatCompletionCreateParams>()
passes<ChatRequest, OpenAI.Chat.Completions.ChatCompletionCreateParamsNonStreaming>()
passes<ChatRequest, OpenAI.Chat.Completions.ChatCompletionCreateParamsStreaming>()
passes<ChatMessage, OpenAI.Chat.Completions.ChatCompletionMessageParam>()
passes<ChatTool, OpenAI.Chat.Completions.ChatCompletionTool>()
passes<EmbeddingRequest, OpenAI.EmbeddingCreateParams>()
passes<ChatCompletion, Theirs>()
passes<ChatCompletionChunk, OpenAI.Chat.Completions.ChatCompletionChunk>()
passes<EmbeddingResponse, OpenAI.CreateEmbeddingResponse>()
passes<ToolCall, OpenAI.Chat.Completions.ChatCompletionMessageToolCall>()
passes<Usage, OpenAI.CompletionUsage>()

// Ours are given.
passes<OpenAI.Chat.Completions.ChatCompletionCreateParams, ChatRequest>()
passes<OpenAI.Chat.Completions.ChatCompletionMessageParam, ChatMessage>()
passes<OpenAI.Chat.Completions.ChatCompletionTool, ChatTool>()
passes<OpenAI.EmbeddingCreateParams, EmbeddingRequest>()
passes<Theirs, ChatCompletion>()
passes<OpenAI.Chat.Completions.ChatCompletionChunk, ChatCompletionChunk>()
passes<OpenAI.CreateEmbeddingResponse, EmbeddingResponse>()
passes<OpenAI.Chat.Completions.ChatCompletionMessageToolCall, ToolCall>()
passes<OpenAI.CompletionUsage, Usage>()

// An answer's message is the next request's.
declare const theirs: Theirs
declare const ours: ChatCompletion
const next: ChatMessage[] = [theirs.choices[0].message, ours.choices[0].message]
const theirNext: OpenAI.Chat.Completions.ChatCompletionMessageParam[] = [
  ours.choices[0].message,
  ...ours.choices.map((choice) => choice.message),
]

export { next, theirNext }

passes<NonNullable<ConstructorParameters<typeof OpenAI>[0]>['fetch'], Trunkline['fetch']>()

// Their parts, either way.
passes<UserPart, OpenAI.Chat.Completions.ChatCompletionContentPart>()
passes<OpenAI.Chat.Completions.ChatCompletionContentPart, UserPart>()
passes<ChatToolChoice, OpenAI.Chat.Completions.ChatCompletionToolChoiceOption>()
passes<OpenAI.Chat.Completions.ChatCompletionToolChoiceOption, ChatToolChoice>()
passes<ChatCompletionMessage, OpenAI.Chat.Completions.ChatCompletionMessage>()
passes<OpenAI.Chat.Completions.ChatCompletionMessage, ChatCompletionMessage>()
passes<ChatCompletionChoice, Theirs['choices'][number]>()
passes<Theirs['choices'][number], ChatCompletionChoice>()
passes<ChatCompletionChunkChoice, OpenAI.Chat.Completions.ChatCompletionChunk.Choice>()
passes<OpenAI.Chat.Completions.ChatCompletionChunk.Choice, ChatCompletionChunkChoice>()
passes<ToolCallDelta, OpenAI.Chat.Completions.ChatCompletionChunk.Choice.Delta.ToolCall>()
passes<OpenAI.Chat.Completions.ChatCompletionChunk.Choice.Delta.ToolCall, ToolCallDelta>()
passes<Embedding, OpenAI.Embedding>()
passes<OpenAI.Embedding, Embedding>()
passes<ChatRequest['response_format'], OpenAI.Chat.Completions.ChatCompletionCreateParams['response_format']>()
passes<OpenAI.Chat.Completions.ChatCompletionCreateParams['response_format'], ChatRequest['response_format']>()

// In their calls, and theirs in ours.
export async function swapped(openai: OpenAI, line: Trunkline, ours: ChatRequest, vectors: EmbeddingRequest) {
  const params: OpenAI.Chat.Completions.ChatCompletionCreateParamsNonStreaming = { model: 'm', messages: [] }
  const answers: ChatCompletion[] = [await openai.chat.completions.create(params), await line.chat(params)]
  const chunks: ChatCompletionChunk[] = []
  for await (const chunk of await openai.chat.completions.create({ ...ours, stream: true })) chunks.push(chunk)
  for await (const chunk of line.stream(params)) chunks.push(chunk)
  const embedded: EmbeddingResponse[] = [await openai.embeddings.create(vectors), await line.embed(vectors)]
  return { answers, chunks, embedded }
}

// Types of this package and of the `openai` package are assignable in both directions.

import type OpenAI from 'openai'
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatMessage,
  ChatRequest,
  ChatTool,
  EmbeddingRequest,
  EmbeddingResponse,
  ToolCall,
  Trunkline,
  Usage,
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

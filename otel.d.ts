/**
 * Spans and metrics of a client's calls, through your own `@opentelemetry/api` (an optional peer dependency, 1.9 or later).
 *
 * @module trunkline/otel
 */

import type { MeterProvider, TracerProvider } from '@opentelemetry/api'
import type { Trunkline } from './index.js'

/**
 * From now on each call of the client is a span of kind CLIENT, child of the span that is active where the call is made, and is counted in histograms:
 * `chat` and `embed` by the GenAI conventions of OpenTelemetry (status Development), all else as an HTTP request. Returns a function that ends it; a client that
 * nobody holds is collected all the same.
 * @throws {ConfigError} for wrong options, or a client that is instrumented already.
 */
export declare function instrument(line: Trunkline, options?: InstrumentOptions): () => void

export interface InstrumentOptions {
  /** Default: the global one. */
  tracerProvider?: TracerProvider
  /** Default: the global one. */
  meterProvider?: MeterProvider
  /**
   * Whether spans of chats hold what was said (`gen_ai.input.messages`, `gen_ai.output.messages`). It is personal data as a rule. Default false.
   */
  captureContent?: boolean
  /** Whether the context goes with each request, as the global propagator writes it (`traceparent`; with its, also `baggage`). Default true. */
  propagate?: boolean
  /**
   * `gen_ai.provider.name` for providers of the client's options, by their names; a name that is none of them is refused. Default: by the host, where the conventions know it; else
   * `openai`, `anthropic` or `gcp.gemini`, by the protocol.
   */
  providers?: Record<string, string>
}

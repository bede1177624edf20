// The matchers in the `expect` of Jest and of Vitest, as the documentation tells TypeScript of them.

import type { ExpectStatic } from '@vitest/expect'
import type { Expect } from 'expect'
import { CassetteMissError, Trunkline } from 'trunkline'
import type { Cassette, MockUpstream, TrunklineMatchers } from 'trunkline/testing'
import { cassette, matchers } from 'trunkline/testing'

declare module '@vitest/expect' {
  interface Matchers<T = any> extends TrunklineMatchers<T> {}
}
declare module 'expect' {
  interface Matchers<R extends void | Promise<void>, T = unknown> extends TrunklineMatchers<R> {}
}

declare const vitest: ExpectStatic
declare const jest: Expect
declare const upstream: MockUpstream
declare const line: Trunkline

export async function uses() {
  vitest.extend(matchers)
  jest.extend(matchers)
  for (const expect of [vitest, jest]) {
    expect(upstream).toHaveReceived({ path: '/v1/chat/completions', model: /^gpt/, headers: { 'x-team': 'blue' } })
    expect(upstream).not.toHaveReceivedTimes(2, (request) => request.connection === 1)
    expect(upstream).toHaveOpenedConnections(1)
    await expect(line.get('/models')).toRejectWithCode('ERR_NOT_FOUND', { status: 404 })
    expect({}).toHaveToolCall('weather', { city: 'Oslo' })
    // @ts-expect-error: not a part of a request
    expect(upstream).toHaveReceived({ modle: 'x' })
    // @ts-expect-error: a number
    expect(upstream).toHaveReceivedTimes('2')
  }
}

export function cassettes(error: unknown) {
  const tape: Cassette = cassette(new URL('file:///tape.json'), { mode: 'auto', redact: ['$.user'] })
  new Trunkline({ cassette: tape })
  // @ts-expect-error: not a mode
  cassette('tape.json', { mode: 'rewind' })
  // @ts-expect-error: what cassette() gives
  new Trunkline({ cassette: 'tape.json' })
  if (error instanceof CassetteMissError) {
    const path: string | undefined = error.differences[0]?.path
    const body: unknown = error.nearest?.body
    return [path, body, error.file, error.request.method]
  }
  return []
}

// The matchers in the `expect` of Vitest.

import {
  ASYMMETRIC_MATCHERS_OBJECT,
  chai,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from '@vitest/expect'
import { hold } from './matchers.mjs'

// As Vitest itself puts it together.
for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin)
const expect = (value) => chai.expect(value)
Object.assign(expect, chai.expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT])
expect.extend = (own) => chai.expect.extend(expect, own)
setState({ assertionCalls: 0 }, expect)

hold(expect)

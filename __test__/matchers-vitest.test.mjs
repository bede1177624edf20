// The matchers in the `expect` of Vitest.

import { expect } from './docs/fixtures/vitest.mjs'
import { hold } from './matchers.mjs'

hold(expect)

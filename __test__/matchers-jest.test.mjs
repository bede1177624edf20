// The matchers in the `expect` of Jest.

import { expect } from 'expect'
import { hold } from './matchers.mjs'

hold(expect)

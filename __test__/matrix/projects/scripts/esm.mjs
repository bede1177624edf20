import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

console.log(await use(all, testing))

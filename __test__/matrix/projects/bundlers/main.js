import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

use(all, testing).then(console.log)

// Nothing is closed, and streams are left unread: the process ends by itself once they have come.
import * as all from 'trunkline'
import * as testing from 'trunkline/testing'
import { use } from './use.cjs'

console.log(await use(all, testing, { close: false }))

// Builds the addon from the sources as they are.

import { build, setUp } from './setup.mjs'

setUp({ addon: false })
build()

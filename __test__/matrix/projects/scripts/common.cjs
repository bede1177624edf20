const { use } = require('./use.cjs')

use(require('trunkline'), require('trunkline/testing')).then(console.log)

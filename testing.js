'use strict'

module.exports.MockUpstream = require('./lib/mock.js').MockUpstream
module.exports.cassette = require('./lib/cassette.js').cassette
module.exports.matchers = require('./lib/matchers.js').matchers

'use strict'

module.exports.MockUpstream = require('./lib/mock.js').MockUpstream

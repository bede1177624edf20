'use strict'

const { instrument } = require('./lib/otel/instrument.js')

module.exports.instrument = instrument

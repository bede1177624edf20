'use strict'

const { Trunkline } = require('./lib/client.js')
const { classes } = require('./lib/errors.js')
const { presets } = require('./lib/presets.js')
const { recommendPool } = require('./lib/sizing.js')

// One by one, so that `import { … }` finds the names.
module.exports.Trunkline = Trunkline
module.exports.default = Trunkline
module.exports.presets = presets
module.exports.recommendPool = recommendPool
module.exports.TrunklineError = classes.TrunklineError
module.exports.ConfigError = classes.ConfigError
module.exports.APIError = classes.APIError
module.exports.BadRequestError = classes.BadRequestError
module.exports.ContextLengthError = classes.ContextLengthError
module.exports.ContentFilterError = classes.ContentFilterError
module.exports.AuthenticationError = classes.AuthenticationError
module.exports.PermissionDeniedError = classes.PermissionDeniedError
module.exports.NotFoundError = classes.NotFoundError
module.exports.ConflictError = classes.ConflictError
module.exports.UnprocessableEntityError = classes.UnprocessableEntityError
module.exports.RateLimitError = classes.RateLimitError
module.exports.InternalServerError = classes.InternalServerError
module.exports.ConnectionError = classes.ConnectionError
module.exports.TimeoutError = classes.TimeoutError
module.exports.StreamInterruptedError = classes.StreamInterruptedError
module.exports.InvalidResponseError = classes.InvalidResponseError
module.exports.QueueFullError = classes.QueueFullError
module.exports.CircuitOpenError = classes.CircuitOpenError
module.exports.NotCachedError = classes.NotCachedError
module.exports.BudgetExceededError = classes.BudgetExceededError
module.exports.SharedStateError = classes.SharedStateError
module.exports.ClosedError = classes.ClosedError
module.exports.CassetteMissError = classes.CassetteMissError
module.exports.HookError = classes.HookError
module.exports.JobError = classes.JobError

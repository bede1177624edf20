module.exports = { ...require('./jest.config.cjs'), testMatch: ['**/*.spec.mjs'] }

module.exports = { testEnvironment: 'node', testMatch: ['**/*.spec.js'], watchman: false }

// By webpack's own interface, which needs no command-line package: `node webpack.cjs external`.
const { join } = require('node:path')
const webpack = require('webpack')

const external = process.argv.includes('external')
const config = {
  mode: 'production',
  target: 'node',
  entry: './main.js',
  output: { path: join(__dirname, 'out'), filename: 'webpack.cjs' },
  // The package, and what is under its name.
  externals: external ? [({ request }, done) => (/^trunkline(\/|$)/.test(request) ? done(null, `commonjs ${request}`) : done())] : [],
}
webpack(config, (error, stats) => {
  console.log(error ?? stats.toString({ colors: false }))
  process.exitCode = error || stats.hasErrors() ? 1 : 0
})

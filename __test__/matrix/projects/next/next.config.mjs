export default {
  output: 'standalone',
  serverExternalPackages: process.env.BUNDLED ? [] : ['trunkline'],
  // This project lies in another: without them Next would take that one for its root.
  turbopack: { root: import.meta.dirname },
  outputFileTracingRoot: import.meta.dirname,
}

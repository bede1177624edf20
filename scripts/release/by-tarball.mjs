// `npm publish` in a clone would send a package without optional dependencies, and with the addon of one machine. npm runs this before it.
console.error(
  'Releases are published by scripts/release/publish.mjs, from tarballs that have been tested: CONTRIBUTING.md, "Releases".',
)
process.exitCode = 1

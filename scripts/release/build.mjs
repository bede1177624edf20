// Builds the addon of one platform as it is published: `node scripts/release/build.mjs linux-x64-gnu`. Linux of every kind is linked by Zig
// (`cargo-zigbuild` and `ziglang`, both from PyPI), against the glibc of targets.mjs or against musl, so that the machine's own libc does not
// matter; macOS and Windows are built where they are. What was built is looked at before it counts.

import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../run.mjs'
import { problemsOf } from './addon-file.mjs'
import { artifacts, fileOf, GLIBC, MACOS, root, targetOf } from './targets.mjs'

/** The command that builds a target, and what it needs in its environment. */
export function commandOf(target) {
  const flags = rustFlags(target)
  const env = {
    ...(flags && { [`CARGO_TARGET_${target.triple.toUpperCase().replaceAll('-', '_')}_RUSTFLAGS`]: flags }),
    ...(target.os === 'darwin' && { MACOSX_DEPLOYMENT_TARGET: MACOS[target.cpu] }),
  }
  const zig = target.os === 'linux'
  const triple = target.libc === 'glibc' ? `${target.triple}.${GLIBC}` : target.triple
  return { args: [zig ? 'zigbuild' : 'build', '--release', '--locked', '--lib', '--target', triple], env }
}

function rustFlags({ os, libc }) {
  // A library that Node loads uses Node's libc, and has none of its own in it.
  if (libc === 'musl') return '-C target-feature=-crt-static'
  // So that no Visual C++ redistributable has to be installed.
  if (os === 'win32') return '-C target-feature=+crt-static'
  return undefined
}

/** As cargo calls it. */
function builtName({ os }) {
  return { linux: 'libtrunkline.so', darwin: 'libtrunkline.dylib', win32: 'trunkline.dll' }[os]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const target = targetOf(process.argv[2])
  const { args, env } = commandOf(target)
  process.chdir(root)
  run('cargo', args, { env })
  mkdirSync(artifacts, { recursive: true })
  const file = join(artifacts, fileOf(target))
  copyFileSync(join(root, 'target', target.triple, 'release', builtName(target)), file)
  const problems = problemsOf(file, target)
  for (const problem of problems) console.error(`${fileOf(target)}: ${problem}`)
  if (problems.length > 0) process.exit(1)
  console.log(file)
}

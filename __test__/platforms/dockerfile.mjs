// As much of a Dockerfile as can be done without Docker: its stages are folders, what it copies is copied, and what it runs is run there. Programs of an image's system
// that would change it (apt-get, apk) are written down and not run. Anything else that a Dockerfile may have is refused, so that nothing is passed over.

import { execFile } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * @param {string} file @param {string} context what COPY copies from @param {string} to an empty folder @param {Record<string, string>} env
 * @returns {Promise<{ folder: string, env: Record<string, string>, command: string[], from: string[], user: string | undefined, ran: string[] }>}
 * the last stage's working folder, and how it is started
 */
export async function built(file, context, to, env) {
  const programs = join(to, 'programs')
  const log = join(to, 'ran')
  mkdirSync(programs, { recursive: true })
  for (const name of ['apt-get', 'apk']) {
    writeFileSync(join(programs, name), `#!/bin/sh\necho "${name} $*" >> '${log}'\n`)
    chmodSync(join(programs, name), 0o755)
  }
  const stages = new Map()
  const from = []
  let stage
  for (const [word, rest] of instructionsOf(readFileSync(file, 'utf8'))) {
    switch (word) {
      case 'FROM': {
        const [image, , name = `${from.length}`] = rest.split(' ')
        from.push(image)
        stage = {
          root: join(to, `stage-${name}`),
          folder: '/',
          env: { ...env, PATH: `${programs}${delimiter}${env.PATH}` },
        }
        mkdirSync(stage.root)
        stages.set(name, stage)
        break
      }
      case 'ENV': {
        const [, name, value] = /^(\w+)=(.*)$/.exec(rest)
        stage.env[name] = value
        break
      }
      case 'WORKDIR':
        stage.folder = rest
        mkdirSync(join(stage.root, rest), { recursive: true })
        break
      case 'COPY':
        copy(rest, context, stages, stage)
        break
      case 'RUN': {
        // What cleans up after the system's programs is the system's as well.
        const command = rest.replaceAll('rm -rf /var/lib/apt/lists/*', 'true')
        await run('sh', ['-ec', command], { cwd: join(stage.root, stage.folder), env: stage.env, timeout: 120_000 })
        break
      }
      case 'CMD':
        stage.command = JSON.parse(rest)
        break
      case 'USER':
        stage.user = rest
        break
      case 'EXPOSE':
        break
      default:
        throw new Error(`${word} is not known here`)
    }
  }
  const ran = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []
  return { folder: join(stage.root, stage.folder), env: stage.env, command: stage.command, from, user: stage.user, ran }
}

/** @returns {[string, string][]} */
function instructionsOf(text) {
  const lines = text.replace(/\\\n/g, ' ').split('\n')
  return lines
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1).trim()])
}

function copy(words, context, stages, stage) {
  const paths = words.split(' ')
  const from = paths[0].startsWith('--from=') ? stages.get(paths.shift().slice('--from='.length)) : undefined
  const target = join(stage.root, stage.folder, paths.pop())
  for (const path of paths) {
    const source = join(from ? from.root : context, path)
    const into =
      paths.length > 1 || (existsSync(target) && !statSync(source).isDirectory() && statSync(target).isDirectory())
    cpSync(source, into ? join(target, basename(path)) : target, { recursive: true, verbatimSymlinks: true })
  }
}

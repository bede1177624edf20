'use strict'

/** `npx trunkline`: which command it is, and what becomes of its end. */

const { parse, helpOf, overview, nearest, UsageError } = require('./args.js')
const { Screen } = require('./screen.js')

/** Loaded when they are asked for: `--help` needs no addon. @type {Record<string, () => any>} */
const COMMANDS = {
  doctor: () => require('./doctor.js'),
  bench: () => require('./bench.js'),
  batch: () => require('./batch.js'),
  mock: () => require('./mock.js'),
  size: () => require('./size.js'),
  costs: () => require('./costs.js'),
}

/** What went well; findings and failures; what was asked for wrongly. */
const OK = 0
const FAILED = 1
const WRONG = 2

/** @param {string[]} args Those behind the program's name. */
async function main(args) {
  // Whoever reads the beginning alone (`| head`) is no failure.
  process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ error) =>
    process.exit(error.code === 'EPIPE' ? OK : FAILED),
  )
  process.exitCode = await run(args)
}

/** @param {string[]} args */
async function run(args) {
  const screen = new Screen(process.stdout, process.env)
  const errors = new Screen(process.stderr, process.env)
  try {
    return await dispatch(args, screen, errors)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    errors.say(`${errors.paint('red', 'trunkline:')} ${error.message}`)
    errors.say(errors.paint('dim', `Try: trunkline ${error.command ? `${error.command} ` : ''}--help`))
    return WRONG
  }
}

/** @param {string[]} args @param {import('./screen.js').Terminal} screen @param {import('./screen.js').Terminal} errors */
async function dispatch([first, ...rest], screen, errors) {
  const names = Object.keys(COMMANDS)
  const all = () =>
    overview(
      screen,
      names.map((name) => COMMANDS[name]().command),
    )
  if (first === undefined) {
    errors.say(all())
    return WRONG
  }
  if (first === '--version' || first === '-v') {
    screen.say(require('../../package.json').version)
    return OK
  }
  if (first === '--help' || first === '-h' || (first === 'help' && rest.length === 0)) {
    screen.say(all())
    return OK
  }
  const name = first === 'help' ? rest[0] : first
  if (!Object.hasOwn(COMMANDS, name)) {
    const near = nearest(name, names)
    const what = name.startsWith('-') ? 'option' : 'command'
    throw new UsageError(`there is no ${what} '${name}'.${near ? ` Did you mean '${near}'?` : ''}`)
  }
  const { command, run } = COMMANDS[name]()
  if (first === 'help' || rest.includes('--help') || rest.includes('-h')) {
    screen.say(helpOf(screen, command))
    return OK
  }
  const { values, positionals } = parse(command, rest)
  if (values.json) screen.mute()
  return await ended(run, { values, positionals, screen, errors })
}

/** @param {(context: any) => Promise<{ ok: boolean, data: any } | undefined>} run @param {any} context */
async function ended(run, context) {
  const { values, screen, errors } = context
  const print = (/** @type {any} */ data) => screen.write(`${JSON.stringify(data, null, 2)}\n`)
  try {
    const result = await run(context)
    // Without a result it has written for itself.
    if (values.json && result) print(result.data)
    return result && !result.ok ? FAILED : OK
  } catch (/** @type {any} */ error) {
    if (error instanceof UsageError) throw error
    // What the package refuses was asked for wrongly.
    if (error?.code === 'ERR_CONFIG') throw new UsageError(error.message)
    if (error?.expected !== true) throw error
    if (values.json) print({ error: { code: error.code, message: error.message } })
    else errors.say(`${errors.paint('red', 'trunkline:')} ${error.message}`)
    return FAILED
  }
}

module.exports = { main }

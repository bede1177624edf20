'use strict'

/** Options of commands: what they may be, and the help that says so. One description of each serves both. */

const { parseArgs } = require('node:util')

/**
 * @typedef {{ type: 'flag' | 'text' | 'integer' | 'number', value?: string, about: string, least?: number, most?: number, of?: string[], negatable?: boolean, short?: string }} Option
 * @typedef {{
 *   name: string, summary: string, usage: string[], about: string, options: Record<string, Option>,
 *   positionals: [number, number], examples: [string, string][], exits: string
 * }} Command
 */

/** What was asked for wrongly; ends with 2. */
class UsageError extends Error {
  /** @type {string | undefined} */
  command = undefined
}

/** What failed in a way that is told without a stack; ends with 1. @param {string} code @param {string} message */
function failure(code, message) {
  return Object.assign(new Error(message), { code, expected: true })
}

/** @type {Record<string, Option>} */
const COMMON = {
  json: { type: 'flag', about: 'one JSON document on standard output, and nothing else' },
  help: { type: 'flag', about: 'this text' },
}

/** @param {Command} command @param {string[]} args @returns {{ values: Record<string, any>, positionals: string[] }} */
function parse(command, args) {
  try {
    const options = { ...command.options, ...COMMON }
    const { values, positionals } = raw(options, args)
    const [least, most] = command.positionals
    if (positionals.length < least) throw new UsageError(`something is missing: trunkline ${command.usage[0]}`)
    if (positionals.length > most) throw new UsageError(`'${positionals[most]}' is one argument too many`)
    const parsed = Object.entries(values).map(([name, value]) => [name, readValue(name, options[name], value)])
    return { values: Object.fromEntries(parsed), positionals }
  } catch (error) {
    if (error instanceof UsageError) error.command = command.name
    throw error
  }
}

/** @param {Record<string, Option>} options @param {string[]} args @returns {{ values: Record<string, any>, positionals: string[] }} */
function raw(options, args) {
  /** @type {Record<string, { type: 'boolean' | 'string', short?: string }>} */
  const known = {}
  for (const [name, { type, negatable, short }] of Object.entries(options)) {
    known[name] = { type: type === 'flag' ? 'boolean' : 'string', ...(short ? { short } : {}) }
    if (negatable) known[`no-${name}`] = { type: 'boolean' }
  }
  try {
    const { values, positionals } = parseArgs({ args, options: known, allowPositionals: true })
    /** @type {Record<string, any>} */
    const given = {}
    for (const [name, value] of Object.entries(values)) {
      if (Object.hasOwn(options, name)) given[name] ??= value
      else given[name.slice('no-'.length)] = false
    }
    return { values: given, positionals }
  } catch (/** @type {any} */ error) {
    if (!error.code?.startsWith('ERR_PARSE_ARGS')) throw error
    const unknown = /Unknown option '(?:--?)([^' ]+)/.exec(error.message)?.[1]
    if (unknown === undefined) throw new UsageError(error.message.split('\n')[0])
    const near = nearest(unknown, Object.keys(known))
    throw new UsageError(`there is no option '--${unknown}'.${near ? ` Did you mean '--${near}'?` : ''}`)
  }
}

/** @param {string} name @param {Option} option @param {any} given */
function readValue(name, { type, least = 0, most = 2 ** 31 - 1, of }, given) {
  if (of && !of.includes(given)) throw new UsageError(`--${name}: must be one of ${of.join(', ')}, got '${given}'`)
  if (type === 'text' && given === '') throw new UsageError(`--${name}: must not be empty`)
  if (type === 'flag' || type === 'text') return given
  const value = given.trim() === '' ? Number.NaN : Number(given.replaceAll('_', ''))
  const fits = type === 'integer' ? Number.isSafeInteger(value) : Number.isFinite(value)
  if (fits && value >= least && value <= most) return value
  const kind = type === 'integer' ? 'a whole number' : 'a number'
  throw new UsageError(`--${name}: must be ${kind} from ${least} to ${most}, got '${given}'`)
}

/** The one that was meant, if one is near. @param {string} word @param {string[]} names */
function nearest(word, names) {
  const near = names.map((name) => /** @type {const} */ ([distance(word, name), name])).sort(([a], [b]) => a - b)[0]
  return near && near[0] <= Math.max(1, Math.floor(near[1].length / 3)) ? near[1] : undefined
}

/** How many letters are to be put in, left out, changed or swapped. @param {string} one @param {string} other */
function distance(one, other) {
  /** @type {number[][]} */
  const rows = [Array.from({ length: other.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= one.length; i++) {
    rows[i] = [i]
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1] ? 0 : 1
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + same)
      const isSwapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      if (isSwapped) rows[i][j] = Math.min(rows[i][j], rows[i - 2][j - 2] + 1)
    }
  }
  return rows[one.length][other.length]
}

/** @param {import('./screen.js').Terminal} screen @param {Command} command */
function helpOf(screen, command) {
  const options = Object.entries({ ...command.options, ...COMMON }).map(
    ([name, { value, about, negatable, short }]) => [
      `${short ? `-${short}, ` : ''}--${negatable ? '[no-]' : ''}${name}${value ? ` ${value}` : ''}`,
      about,
    ],
  )
  return [
    ...command.usage.map((usage) => `${screen.paint('bold', 'trunkline')} ${usage}`),
    '',
    screen.wrap(command.about),
    '',
    screen.title('Options'),
    ...screen.list(options),
    '',
    screen.title('For example'),
    ...command.examples.flatMap(([line, what]) => [`  npx trunkline ${line}`, `      ${screen.paint('dim', what)}`]),
    '',
    screen.title('Ends with'),
    ...screen.list([
      ['0', 'all is well'],
      ['1', command.exits],
      ['2', 'it was asked for wrongly'],
    ]),
  ].join('\n')
}

/** @param {import('./screen.js').Terminal} screen @param {Command[]} commands */
function overview(screen, commands) {
  return [
    `${screen.paint('bold', 'trunkline')} COMMAND [options]`,
    '',
    'One warm, bounded, multiplexed connection pool to AI providers.',
    '',
    screen.title('Commands'),
    ...screen.list(commands.map(({ name, summary }) => [name, summary])),
    '',
    screen.title('Options'),
    ...screen.list([
      ['--help', 'this text; of a command: trunkline COMMAND --help'],
      ['--version', 'of the package'],
      ['--json', 'of every command: for programs'],
    ]),
    '',
    screen.wrap(
      'Colours come on a terminal alone; NO_COLOR and FORCE_COLOR are heard. Keys are taken from environment variables by their names, and never printed.',
    ),
  ].join('\n')
}

module.exports = { UsageError, failure, helpOf, nearest, overview, parse }

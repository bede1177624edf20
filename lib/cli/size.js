'use strict'

/** `trunkline size`: how large a pool should be, and why. */

const { presets } = require('../presets.js')
const { recommendPool } = require('../sizing.js')
const { UsageError } = require('./args.js')
const { poolCode } = require('./code.js')
const { count, many, time } = require('./screen.js')

/** Of `pool.maxStreamsPerConnection`, and of `pool.maxConnectionsPerOrigin`. */
const STREAMS = 100
const PER_ORIGIN = 100

/** @type {Record<string, import('./args.js').Option>} */
const LOAD = {
  peak: {
    type: 'integer',
    value: 'N',
    least: 1,
    about: 'users, workers or jobs that call at the same time at the peak',
  },
  'response-time': { type: 'number', value: 'MS', about: 'how long one call takes' },
  interval: { type: 'number', value: 'MS', about: 'from one call of each of them to its next' },
}

const command = {
  name: 'size',
  summary: 'how large the pool should be for a load, and why',
  usage: ['size --peak N --response-time MS --interval MS', 'size --preset NAME', 'size --presets'],
  about:
    "Little's law: as many calls are there at once as come in a second, times the seconds that each is there. A tenth is added for bursts; half of the sum is kept warm.",
  positionals: [0, 0],
  options: {
    ...LOAD,
    streams: {
      type: 'integer',
      value: 'N',
      least: 1,
      about: `calls that share one HTTP/2 connection; what the server allows is told by doctor. Default ${STREAMS}`,
    },
    preset: { type: 'text', value: 'NAME', of: Object.keys(presets), about: 'a ready-made set of options' },
    presets: { type: 'flag', about: 'all of them' },
  },
  examples: [
    ['size --peak 50 --response-time 2000 --interval 1000', '50 users, each of whom asks every second and waits two'],
    ['size --preset backend', 'the options of a preset'],
  ],
  exits: 'never',
}

/** @param {any} context */
async function run({ values, screen }) {
  if (values.presets) return all(screen)
  if (values.preset) return one(values.preset, screen)
  const load = loadOf(values)
  if (!load) throw wrong('--peak, --response-time and --interval are needed, or --preset NAME')
  const sized = sizeOf(load, values.streams ?? STREAMS)
  for (const line of wordsOf(sized, screen)) screen.say(line)
  return { ok: true, data: sized }
}

/** The load that was given; undefined where none was. @param {Record<string, any>} values */
function loadOf(values, command = 'size') {
  const { peak: peakConcurrent, 'response-time': responseTime, interval: requestInterval } = values
  const given = [peakConcurrent, responseTime, requestInterval].filter((value) => value !== undefined)
  if (given.length === 0) return undefined
  if (given.length < 3) throw wrong('--peak, --response-time and --interval belong together', command)
  return { peakConcurrent, responseTime, requestInterval }
}

/** @param {string} message */
function wrong(message, name = 'size') {
  return Object.assign(new UsageError(message), { command: name })
}

/** @param {{ peakConcurrent: number, responseTime: number, requestInterval: number }} load @param {number} streams */
function sizeOf(load, streams) {
  const { maxConnections, maxIdleConnections } = recommendPool(load)
  const perSecond = (load.peakConcurrent * 1000) / load.requestInterval
  return {
    load,
    callsPerSecond: perSecond,
    callsAtOnce: (perSecond * load.responseTime) / 1000,
    /** With HTTP/1.1, where each call has a connection. */
    pool: {
      maxConnections,
      maxIdleConnections,
      ...(maxConnections > PER_ORIGIN ? { maxConnectionsPerOrigin: maxConnections } : {}),
    },
    http2: { streamsPerConnection: streams, connections: Math.ceil(maxConnections / streams) },
  }
}

/** @param {ReturnType<typeof sizeOf>} sized @param {import('./screen.js').Terminal} screen */
function wordsOf({ load, callsPerSecond, callsAtOnce, pool, http2 }, screen) {
  const number = (/** @type {number} */ n) => (n < 100 ? Number(n.toFixed(1)) : count(n))
  return [
    screen.title('Load'),
    ...screen.list([
      [
        'calls a second',
        `${number(callsPerSecond)}, of ${count(load.peakConcurrent)} that ask every ${time(load.requestInterval)}`,
      ],
      ['calls at once', `${number(callsAtOnce)}, since each takes ${time(load.responseTime)}`],
      ['with a tenth for bursts', count(pool.maxConnections)],
    ]),
    '',
    screen.title('Connections'),
    ...screen.list([
      ['HTTP/1.1', `${count(pool.maxConnections)}: each call has one to itself`],
      [
        'HTTP/2',
        `${many(http2.connections, 'connection')}: up to ${count(http2.streamsPerConnection)} calls share one; the limit below is never reached`,
      ],
    ]),
    '',
    ...poolCode(
      [
        ['maxConnections', pool.maxConnections, 'calls at once, and a tenth more'],
        ...(pool.maxConnectionsPerOrigin
          ? [
              /** @type {[string, number, string]} */ ([
                'maxConnectionsPerOrigin',
                pool.maxConnectionsPerOrigin,
                `to one provider; the default is ${PER_ORIGIN}`,
              ]),
            ]
          : []),
        ['maxIdleConnections', pool.maxIdleConnections, 'half of them kept warm between bursts'],
      ],
      { width: screen.width },
    ),
    ...(callsAtOnce > load.peakConcurrent
      ? [
          '',
          screen.wrap(
            `A call takes longer than the pause until the next one: where each of the ${count(load.peakConcurrent)} waits for its answer before it asks again, no more than ${count(load.peakConcurrent)} calls are there at once.`,
          ),
        ]
      : []),
  ]
}

/** @param {import('./screen.js').Terminal} screen */
function all(screen) {
  const rows = Object.entries(presets).map(([name, { pool = {}, timeouts = {}, retry, tenants }]) => [
    name,
    String(pool.maxConnections),
    pool.idleTimeout ? time(pool.idleTimeout) : '',
    timeouts.firstByte ? time(timeouts.firstByte) : '',
    retry && retry.maxRetries !== undefined ? String(retry.maxRetries) : '',
    tenants?.maxConnections ? String(tenants.maxConnections) : '',
  ])
  for (const line of screen.table([
    ['preset', 'connections', 'idle kept', 'attempt', 'retries', 'each tenant'],
    ...rows,
  ]))
    screen.say(line)
  screen.say()
  screen.say('What is empty has its default. To use one: new Trunkline({ ...presets.backend, apiKey })')
  return { ok: true, data: presets }
}

/** @param {string} name @param {import('./screen.js').Terminal} screen */
function one(name, screen) {
  screen.say(`const { Trunkline, presets } = require('trunkline')`)
  screen.say(`const line = new Trunkline({ ...presets.${name} })`)
  screen.say()
  for (const line of JSON.stringify(presets[name], null, 2).split('\n'))
    screen.say(screen.paint('dim', `// ${line.replace(/"(\w+)":/, '$1:')}`))
  return { ok: true, data: presets[name] }
}

module.exports = { command, run, LOAD, loadOf, sizeOf }

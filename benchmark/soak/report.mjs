// The samples and what is made of them, as a person reads them.

const MB = 2 ** 20
const COLUMNS = [
  ['operations', ({ at }) => at.toLocaleString('en')],
  ['RSS MB', ({ rss }) => (rss / MB).toFixed(1)],
  ['heap MB', ({ heap }) => (heap / MB).toFixed(1)],
  ['external MB', ({ external }) => (external / MB).toFixed(1)],
  ['sockets', ({ sockets }) => String(sockets)],
  ['other files', ({ files }) => String(files ?? '')],
  ['handles', ({ handles }) => String(handles)],
  ['tasks', ({ tasks }) => String(tasks)],
]
const WORDS = {
  rss: 'RSS',
  heap: 'JavaScript heap',
  external: 'memory outside of the heap that JavaScript holds',
  sockets: 'sockets at rest',
  files: 'file descriptors beside sockets',
  handles: 'handles of the event loop',
  tasks: 'tasks in Rust',
  inFlight: 'calls in flight when all had ended',
  waiting: 'calls waiting when all had ended',
  busy: 'sockets in use when all had ended',
}
const BYTES = ['rss', 'heap', 'external']

export const head = () => COLUMNS.map(([name]) => name.padStart(11)).join('  ')
export const row = (sample) => COLUMNS.map(([, of]) => of(sample).padStart(11)).join('  ')

export function verdicts(report) {
  const { judged, outcomes, seconds } = report
  const ends = Object.entries(outcomes).sort(([, one], [, other]) => other - one)
  return [
    '',
    `${seconds.toFixed(0)} s; how they ended: ${ends.map(([name, count]) => `${count} ${name}`).join(', ')}`,
    ...judged.map(verdict),
  ].join('\n')
}

/** The part of docs/scale.md that is generated. */
export function page(report) {
  const { samples, judged, calls, streams, seconds, node, platform, date } = report
  const shown = samples.filter(({ at, closed }) => closed || at === 0 || (at * 10) % (calls + streams) === 0)
  const cells = (sample) => COLUMNS.map(([, of], column) => (column === 0 && sample.closed ? 'all closed' : of(sample)))
  return [
    `${calls.toLocaleString('en')} calls and ${streams.toLocaleString('en')} streams in ${seconds.toFixed(0)} s, Node ${node}, ${platform}, ${date}.`,
    '',
    `| ${COLUMNS.map(([name]) => name).join(' | ')} |`,
    `|${COLUMNS.map(() => '---:').join('|')}|`,
    ...shown.map((sample) => `| ${cells(sample).join(' | ')} |`),
    '',
    ...judged.map((one) => `- ${verdict(one)}`),
  ].join('\n')
}

function verdict({ figure, met, drift, each, most, level, largest, closed }) {
  const word = met === null ? 'not judged' : met ? 'met' : 'NOT MET'
  const show = BYTES.includes(figure)
    ? (bytes) => `${(bytes / MB).toFixed(2)} MB`
    : (count) => String(Math.round(count))
  const what = closed ? `${WORDS[figure]}, when all is closed` : WORDS[figure]
  if (largest !== undefined) return `${word}: ${what} (${largest ?? 'unknown'}, at most ${most})`
  if (drift === null) return `${word}: ${what} (this system does not tell)`
  const perOperation = BYTES.includes(figure) ? `, ${each.toFixed(2)} bytes an operation` : ''
  return `${word}: ${what}, after the first tenth (${show(level)}, drifts by ${show(drift)}${perOperation}; at most ${show(most)})`
}

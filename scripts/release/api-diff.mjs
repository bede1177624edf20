// Two lists of what users can name, held against each other: what breaks code that was right, and what is only new.

/** @typedef {import('./api-report.mjs').Entry} Entry */

/**
 * @param {Record<string, Entry[]>} before @param {Record<string, Entry[]>} after by file
 * @returns {{ breaks: Change[], additions: Change[] }}
 * @typedef {{ file: string, path: string, why: string }} Change
 */
export function differences(before, after) {
  const breaks = []
  const additions = []
  for (const file of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [byPath(before[file] ?? []), byPath(after[file] ?? [])]
    const tell = (list, path, why) => list.push({ file, path, why })
    for (const [path, entries] of old) {
      const others = now.get(path)
      if (!others) tell(breaks, path, 'is gone')
      // Overloads are told apart by their words alone.
      else if (entries.length > 1 || others.length > 1) {
        const texts = others.map(words)
        if (!entries.every((entry) => texts.includes(words(entry))))
          tell(breaks, path, 'an overload is gone or another')
        else if (others.length > entries.length) tell(additions, path, 'has a new overload')
      } else {
        const { breaking, why } = changeOf(entries[0], others[0])
        if (why) tell(breaking ? breaks : additions, path, why)
      }
    }
    for (const [path, entries] of now) {
      if (old.has(path)) continue
      const [{ optional, way }] = entries
      const parent = path.slice(0, path.lastIndexOf('.'))
      // Whoever hands over an object of a type that was there has not got it.
      if (!optional && way !== 'out' && old.has(parent)) tell(breaks, path, 'is new and must be given')
      else tell(additions, path, 'is new')
    }
  }
  return { breaks, additions }
}

/** @param {Entry} old @param {Entry} now */
function changeOf(old, now) {
  if (words(old) === words(now) && old.optional === now.optional) return {}
  if (old.text !== now.text) return { breaking: true, why: `was \`${old.text}\`, is \`${now.text}\`` }
  if (old.parameters && now.parameters) {
    const [first, then] = [old.parameters, now.parameters]
    const same = first.every(({ text }, at) => text === then[at]?.text)
    if (same && then.slice(first.length).every(({ optional }) => optional)) return { why: 'takes more' }
    if (words(old) !== words(now)) return { breaking: true, why: 'takes other arguments' }
  }
  // What may be left out by those who give it may be missing for those who get it, and the other way about.
  if (now.optional) return { breaking: old.way !== 'in', why: 'may be missing' }
  return { breaking: old.way !== 'out', why: 'must be given' }
}

/** Of the breaks, those that the changelog's words under "Breaking" do not name in back quotes. */
export function unannounced(breaks, words) {
  const named = [...words.matchAll(/`([^`]+)`/g)].map(([, name]) => name.replace(/\(.*\)$/, ''))
  return breaks.filter(({ path }) => {
    // Of a union's alternative, or an alias, the name of the type is enough; what is within something that is named goes with it.
    const name = path.replace(/[|=].*$/s, '')
    return !named.some((one) => name === one || name.startsWith(`${one}.`))
  })
}

function words({ text, parameters }) {
  return `${text}(${(parameters ?? []).map((one) => one.text).join(', ')})`
}

function byPath(entries) {
  const map = new Map()
  for (const entry of entries) map.set(entry.path, [...(map.get(entry.path) ?? []), entry])
  return map
}

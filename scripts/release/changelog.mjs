// CHANGELOG.md in the form of Keep a Changelog: its sections by version, and what stands under each heading.

const SECTION = /^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?[ \t]*$/gm
/** Those of Keep a Changelog, and one for what makes users change their code. */
export const HEADINGS = ['Breaking', 'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security']

/** @returns {{ version: string, date: string | undefined, text: string }[]} newest first, as they stand */
export function sectionsOf(changelog) {
  const found = [...changelog.matchAll(SECTION)]
  return found.map((match, at) => ({
    version: match[1],
    date: match[2],
    text: changelog.slice(match.index + match[0].length, found[at + 1]?.index ?? changelog.length).trim(),
  }))
}

/** The text of a version's section, or of `Unreleased`; undefined where there is none, or nothing in it. */
export function sectionOf(changelog, version) {
  return sectionsOf(changelog).find((section) => section.version === version)?.text || undefined
}

/** The text under one of a section's headings; '' where it has none. */
export function underHeading(text, heading) {
  const [, after = ''] = `\n${text}`.split(`\n### ${heading}\n`)
  return after.split(/\n### /)[0].trim()
}

/** What is wrong with its form. */
export function problemsOfChangelog(changelog) {
  const sections = sectionsOf(changelog)
  const problems = []
  if (sections[0]?.version !== 'Unreleased') problems.push('the first section is not [Unreleased]')
  for (const { version, date, text } of sections) {
    if (version !== 'Unreleased' && !date) problems.push(`[${version}] has no date`)
    if (version !== 'Unreleased' && !parsed(version)) problems.push(`[${version}] is no semantic version`)
    for (const [, heading] of text.matchAll(/^### (.*)$/gm)) {
      if (!HEADINGS.includes(heading))
        problems.push(`[${version}] has a heading "${heading}"; there are ${HEADINGS.join(', ')}`)
    }
    for (const heading of HEADINGS) {
      if (text.split(new RegExp(`^### ${heading}$`, 'm')).length > 2)
        problems.push(`[${version}] has "${heading}" twice`)
    }
  }
  for (let at = 2; at < sections.length; at++) {
    const [newer, older] = [sections[at - 1], sections[at]].map(({ version }) => parsed(version))
    if (newer && older && compare(newer, older) <= 0)
      problems.push(`[${sections[at].version}] stands below an older one`)
  }
  return problems
}

/** Major, minor, patch, and what comes before a release (`-rc.1`). */
export function parsed(version) {
  const match = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$/.exec(version)
  if (!match) return undefined
  return { numbers: match.slice(1, 4).map(Number), before: match[4]?.split('.') }
}

/** By semver.org's rule 11. */
export function compare(a, b) {
  for (let at = 0; at < 3; at++) if (a.numbers[at] !== b.numbers[at]) return a.numbers[at] - b.numbers[at]
  if (!a.before || !b.before) return (a.before ? 0 : 1) - (b.before ? 0 : 1)
  for (let at = 0; at < Math.max(a.before.length, b.before.length); at++) {
    const [x, y] = [a.before[at], b.before[at]]
    if (x === y) continue
    if (x === undefined || y === undefined) return x === undefined ? -1 : 1
    const [n, m] = [x, y].map((word) => (/^\d+$/.test(word) ? Number(word) : undefined))
    if (n !== undefined && m !== undefined) return n - m
    if (n !== undefined || m !== undefined) return n !== undefined ? -1 : 1
    return x < y ? -1 : 1
  }
  return 0
}

// What became of each promise of a suite, one line of JSON each: for `sdk.test.mjs`, which runs the suites.

export default async function* (events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    const error = data.details?.error
    // The test's own error is below the runner's.
    const reason = error?.cause?.stack ?? error?.cause ?? error?.message
    yield `${JSON.stringify({ name: data.name, ok: type === 'test:pass', skipped: data.skip !== undefined, reason })}\n`
  }
}

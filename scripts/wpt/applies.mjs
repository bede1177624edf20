// What of the tests is no test of a fetch on a server, and why; and where ours is known to differ from Node's.

/** Files, by their path. The first that fits is told. @type {[RegExp, string][]} */
const FILES = [
  [/^eventsource\/(?!format-|event-data)/, 'EventSource as an interface of browsers'],
  [/^eventsource\/format-field-retry(-bogus)?\./, 'whoever reconnects by itself is told of retry; we do not'],
  [/^fetch\/api\/cors\//, 'CORS: nobody guards a server from itself'],
  [
    /serviceworker|service-worker|sw\.https|\/policies\/|keepalive|\/destination\/|multi-globals|detached|destroyed|-realm|iframe/,
    'needs a document or a worker of a browser',
  ],
  [
    /dangling-markup|embedded-credentials|block-mime|navigat|mediasource|subresource|content-type\/script|task-handling|worker/,
    'needs a document',
  ],
  [
    /redirects\/data\.window|range\/general\.window|non-matching-range|with-0x00|content-length\.html|reset-attributes/,
    'needs a document',
  ],
  [
    /\.sub\.html$|response-consume\.html|url-encoding\.html/,
    'a page that a browser makes: forms, charsets, FileReader',
  ],
  [/redirect-to-url-with-credentials/, 'needs an origin, and images'],
  [/request-cache|conditional-get|abort\/cache/, 'needs a cache of HTTP'],
  [/referrer|redirect-origin|redirect-back-to/, 'needs the origin of a document'],
  [/mode-no-cors|mode-same-origin|headers-no-cors/, 'needs the origin of a document: modes, opaque responses'],
  [
    /request-forbidden-headers|private-network|headers\/header-values|request\/request-headers\./,
    'headers that a browser keeps to itself',
  ],
  [/credentials\/cookies/, 'needs a jar of cookies'],
  [/idlharness/, 'needs WebIDL2, and tests the platform'],
  [/h2\.any\.js$/, 'HTTP/2: by Node’s own fetch not asked for'],
]

/** Cases of files that else apply. @type {[RegExp, RegExp, string][]} */
const CASES = [
  [/./, /XMLHttpRequest|<iframe>|FileReader/, 'another API of browsers'],
  [/./, /opaque response|no-cors mode|CORS error/, 'needs the origin of a document: modes, opaque responses'],
  [
    /redirect/,
    /manual/,
    'a redirect that is not followed is shown as it is, as by Node’s, and not hidden as by a browser',
  ],
  [
    /basic\/request-headers\.any/,
    /mode "|Fetch with (PUT|POST|Chicken|TacO|PATCH|DELETE)/,
    'needs the origin of a document',
  ],
]

/** @param {string} path @returns {string | undefined} why a file is left out */
export function inapplicable(path) {
  return FILES.find(([pattern]) => pattern.test(path))?.[1]
}

/** @param {string} path @param {string} name @returns {string | undefined} why a case is */
export function inapplicableCase(path, name) {
  return CASES.find(([files, names]) => files.test(path) && names.test(name))?.[2]
}

/** Where Node's passes and ours does not, on purpose or for good reason: told in docs/fetch.md. @type {[RegExp, RegExp, string][]} */
export const KNOWN = [
  [/request-headers-case/, /./, 'names of headers are sent in lower case, over HTTP/1.1 as over HTTP/2'],
  [/content-length\/parsing/, /030/, 'lengths that are equal as numbers are equal'],
]

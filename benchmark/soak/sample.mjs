// What a process holds, while nothing runs in it.

import { readdirSync, readlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

// The library's own view of its tasks, which is no part of what users see.
const { border } = createRequire(import.meta.url)('../../lib/border.js')

/**
 * Once it has come to rest: what nobody holds is collected, and what ends by itself has ended. Where nothing is to be left (`empty`) that is waited for, for some
 * seconds.
 */
export async function sample(lines, empty = null) {
  let last = ''
  for (let tries = 0; tries < 150; tries++) {
    globalThis.gc()
    await sleep(25)
    const now = counts(lines)
    const rests = empty === null ? JSON.stringify(now) === last : now.tasks <= empty.tasks && now.files <= empty.files
    if (rests) break
    last = JSON.stringify(now)
  }
  globalThis.gc()
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
  return { rss, heap: heapUsed, external: external + arrayBuffers, ...counts(lines) }
}

function counts(lines) {
  let [inFlight, waiting, sockets, idle] = [0, 0, 0, 0]
  const pools = lines.map((line) => line.metrics())
  for (const { requests, queue, pool } of pools) {
    const { active, idle: rest, connecting, draining } = pool.connections
    inFlight += requests.inFlight
    waiting += Object.values(queue.depth).reduce((sum, depth) => sum + depth, 0)
    sockets += active + rest + connecting + draining
    idle += rest
  }
  const files = openFiles()
  return {
    inFlight,
    waiting,
    sockets,
    busy: sockets - idle,
    // Beside those of the pools' sockets.
    files: files === null ? null : files - sockets,
    handles: process.getActiveResourcesInfo().length,
    // Beside the two that each socket has.
    tasks: border.tasks - 2 * sockets,
  }
}

/** Null where the system does not tell. */
function openFiles() {
  try {
    // The one that reads this list is in it, and has gone.
    return readdirSync('/proc/self/fd').filter((fd) => isThere(fd)).length
  } catch {
    return null
  }
}

function isThere(fd) {
  try {
    readlinkSync(`/proc/self/fd/${fd}`)
    return true
  } catch {
    return false
  }
}

// A worker thread with a client of its own.

import { parentPort, workerData } from 'node:worker_threads'
import { Trunkline } from 'trunkline'
import { callOf, optionsOf } from './calls.mjs'
import { startLoop } from './loop.mjs'

const { client, load, urls } = workerData
const line = new Trunkline(optionsOf(client, load, urls))
const loop = startLoop(callOf(line, load), load)

parentPort.on('message', async ({ method, args }) => {
  try {
    parentPort.postMessage({ answer: await loop[method](...args) })
  } catch (error) {
    parentPort.postMessage({ error: String(error) })
  }
})

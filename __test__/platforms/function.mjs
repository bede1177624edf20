// A function of AWS Lambda as its runtime has it: the handler is read once, and called when the parent process says so.

import { handler } from '../../examples/lambda/handler.mjs'

process.on('message', async ({ question, left }) => {
  try {
    process.send({ answer: await handler({ question }, { getRemainingTimeInMillis: () => left }) })
  } catch (error) {
    process.send({ code: error.code, message: error.message })
  }
})
process.send('read')

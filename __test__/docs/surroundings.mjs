// What programs of the documentation have around them: free ports for those that they name, and a proxy.

import { createServer } from 'node:http'
import { connect, createServer as listen } from 'node:net'

/** A free port for each. */
export async function freePorts(ports) {
  const entries = ports.map(
    (port) =>
      new Promise((resolve) => {
        const server = listen().listen(0, '127.0.0.1', () => {
          const { port: free } = server.address()
          server.close(() => resolve([port, String(free)]))
        })
      }),
  )
  return Object.fromEntries(await Promise.all(entries))
}

/** A proxy that tunnels (CONNECT). `asked` has what for. */
export async function proxy() {
  const asked = []
  const server = createServer((_, response) => response.writeHead(405).end())
  server.on('connect', ({ url, headers }, socket, head) => {
    asked.push({ url, authorization: headers['proxy-authorization'] })
    const [, host, port] = /^(.*):(\d+)$/.exec(url)
    const there = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      if (head.length > 0) there.write(head)
      socket.pipe(there).pipe(socket)
    })
    for (const end of [socket, there])
      end.on('error', () => {}).on('close', () => [socket, there].forEach((other) => void other.destroy()))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  server.unref()
  return { url: `http://127.0.0.1:${server.address().port}`, asked }
}

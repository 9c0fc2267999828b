import { createServer, type Server } from 'node:net'

/** `count` different ports on 127.0.0.1 that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = []
  for (let i = 0; i < count; i++)
    servers.push(
      await new Promise((resolve) =>
        createServer().listen(0, '127.0.0.1', function (this: Server) {
          resolve(this)
        }),
      ),
    )
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

// Records what real istioctl (.istiod/istioctl) describes: `node test/conformance/describe/record.ts`.
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { istioctl } from '../istioctl/istioctl.ts'
import { KubeApi } from '../istioctl/kube-api.ts'
import { configDump, hasProxy, OBJECTS, questions, RECORDED, type Recorded } from './cluster.ts'

/** Admin ports of the proxies, by pod. */
const ports = new Map<string, number>()
const servers = await Promise.all(
  OBJECTS.filter((object) => object.kind === 'Pod' && hasProxy(object)).map(async (pod) => {
    const dump = await configDump(pod)
    const server = createServer((_request, response) => response.end(dump))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    ports.set(`${pod.metadata.namespace}/${pod.metadata.name}`, (server.address() as AddressInfo).port)
    return server
  }),
)
const api = await KubeApi.start({
  objects: () => OBJECTS,
  // Port 1 of a pod without a proxy: nobody listens there.
  connect: ({ namespace, name }) => connect(ports.get(`${namespace}/${name}`) ?? 1, '127.0.0.1'),
})
const recorded: Recorded[] = []
for (const args of questions())
  recorded.push({ args, ...(await istioctl(api.kubeconfig(), ['x', 'describe', ...args])) })
writeFileSync(RECORDED, `${JSON.stringify(recorded, null, 1)}\n`)
api.close()
for (const server of servers) {
  server.close()
  server.closeAllConnections()
}

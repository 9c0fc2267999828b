import type { Command } from 'commander'

/** `outrigger status`: what runs, and whether it is ready. Exit code 1 when it is not. */
export function register(program: Command): void {
  program
    .command('status')
    .description('show the running mesh: folder, pods, addresses')
    .action(async () => {
      const { formatTable, LocalClient, runningMesh, stateDir } = await import('../../local/index.ts')
      const mesh = runningMesh(stateDir())
      if (!mesh) {
        console.log('no mesh is running; start one with: outrigger up DIR')
        process.exitCode = 1
        return
      }
      const { pods, deployments } = await new LocalClient().call('status', {})
      console.log(
        `folder     ${mesh.dir}\nproxy      ${mesh.proxy}\nsupervisor process ${mesh.pid}, node process ${mesh.nodePid}`,
      )
      console.log(`gateway    http://127.0.0.1:${mesh.ports.gateway}`)
      console.log(`debug      http://127.0.0.1:${mesh.ports.debug}/debug`)
      for (const { namespace, name, address, ports } of mesh.balancers)
        console.log(`${namespace}/${name} ${address}, ports ${ports.join(', ')}`)
      console.log('')
      const rows = pods.map((pod) => [
        pod.namespace,
        pod.name,
        `${pod.ready}/${pod.total}`,
        pod.status,
        pod.message ?? '',
      ])
      console.log(formatTable([['NAMESPACE', 'NAME', 'READY', 'STATUS', 'MESSAGE'], ...rows]))
      if (deployments.some(({ done }) => !done)) process.exitCode = 1
    })
}

import type { Command } from 'commander'
import { UserError } from '../../base/errors.ts'
import type { MeshAccess } from '../access.ts'
import { type DescribeInput, describePod, describeService } from '../describe.ts'
import { localAccess } from '../envoy/source.ts'

interface Options {
  readonly namespace: string
}

/** `outrigger x …`: istioctl's experimental commands. */
export function register(program: Command): void {
  const x = program.command('x').alias('experimental').description('describe pod, describe service, internal-debug')
  const describe = x.command('describe').alias('des').description('what concerns one pod or service')
  describe
    .command('pod <pod>')
    .alias('po')
    .description('services, routes, subsets, mTLS and exposure of a pod')
    .option('-n, --namespace <name>', 'namespace of the pod', 'default')
    .action(showPod)
  describe
    .command('service <service>')
    .alias('svc')
    .description('ports, routes, subsets, mTLS and exposure of a service')
    .option('-n, --namespace <name>', 'namespace of the service', 'default')
    .action(showService)
  x.command('internal-debug <page>')
    .description("one of the control plane's debug pages, for example syncz or config_dump?proxyID=POD.NAMESPACE")
    .action(internalDebug)
}

/** Where `up` publishes the ingress gateway. */
const INGRESS_URL = 'http://127.0.0.1:8080'

async function gather(access: MeshAccess): Promise<DescribeInput> {
  const istio = (kind: string, group: string) => access.objects(`${kind}.${group}.istio.io`)
  const [services, destinationRules, virtualServices, gateways, peerAuthentications, authorizationPolicies] =
    await Promise.all([
      access.objects('Service'),
      istio('DestinationRule', 'networking'),
      istio('VirtualService', 'networking'),
      istio('Gateway', 'networking'),
      istio('PeerAuthentication', 'security'),
      istio('AuthorizationPolicy', 'security'),
    ])
  return {
    pod: null,
    services,
    destinationRules,
    virtualServices,
    gateways,
    peerAuthentications,
    authorizationPolicies,
    ingressUrl: INGRESS_URL,
  }
}

async function showPod(name: string, options: Options): Promise<void> {
  const access = await localAccess()
  const ref = await access.findPod(name, options.namespace)
  const pod = (await access.objects('Pod', ref.namespace)).find((p) => p.metadata.name === ref.name)!
  process.stdout.write(describePod({ ...(await gather(access)), pod }))
}

async function showService(name: string, options: Options): Promise<void> {
  const access = await localAccess()
  const dot = name.indexOf('.')
  const [short, namespace] = dot > 0 ? [name.slice(0, dot), name.slice(dot + 1)] : [name, options.namespace]
  const input = await gather(access)
  const service = input.services.find((s) => s.metadata.name === short && s.metadata.namespace === namespace)
  if (!service) throw new UserError(`services "${short}" not found in namespace ${namespace}`)
  process.stdout.write(describeService(input, service, await access.objects('Pod', namespace)))
}

async function internalDebug(page: string): Promise<void> {
  const answer = await (await localAccess()).pilotRequest(`/debug/${page.replace(/^\/?(debug\/)?/, '')}`)
  if (answer.status !== 200) throw new UserError(`the control plane answered ${answer.status}: ${answer.body.trim()}`)
  process.stdout.write(answer.body.endsWith('\n') ? answer.body : `${answer.body}\n`)
}

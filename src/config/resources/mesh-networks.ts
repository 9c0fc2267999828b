// MeshNetworks: which workloads can reach each other directly, and the gateways between networks.
import { type Infer, integer, list, map, message, required, string } from '../schema.ts'

const networkEndpoints = message(
  { fromCidr: string(), fromRegistry: string() },
  { oneof: [['fromCidr', 'fromRegistry']] },
)

const networkGateway = message(
  {
    registryServiceName: string(),
    address: string(),
    port: required(integer({ min: 1, max: 65535 })),
    locality: string(),
  },
  { oneof: [['registryServiceName', 'address']] },
)

export const meshNetworks = message({
  networks: map(message({ endpoints: list(networkEndpoints), gateways: list(networkGateway) })),
})
export type MeshNetworks = Infer<typeof meshNetworks>

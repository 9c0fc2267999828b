// The data plane's public entry point: what `outrigger proxy`, the agent and `explain` may use.
export type { ProxyOptions, Proxy, SecretSource } from './server/options.ts'

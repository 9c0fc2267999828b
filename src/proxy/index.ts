// The data plane's public entry point: what `outrigger proxy`, the agent and `explain` may use.
export { type BootstrapSources, loadBootstrap } from './config/load-bootstrap.ts'
export type { Proxy, ProxyOptions, SecretSource, SecretValue } from './server/options.ts'
export { startProxy } from './server/start-proxy.ts'
export { validateProxy } from './server/validate.ts'

export { runAgent } from './run.ts'
export { type AgentFlags, type AgentSettings, type ProxyRole, readSettings } from './settings.ts'

// The file that the data plane starts from: the agent's own, or one that ProxyConfig names.
import { accessSync, constants, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { ConfigError, errorText } from '../base/errors.ts'
import { buildBootstrap } from './bootstrap.ts'
import type { AgentSettings } from './settings.ts'

/**
 * Path of the bootstrap. `customConfigFile` is used as it stands, whatever else ProxyConfig says of bootstraps. Throws
 * ConfigError when it cannot be read.
 */
export function bootstrapFile(settings: AgentSettings): string {
  const { config, workdir } = settings
  const configDir = resolve(workdir, config.configPath)
  // Also the socket for xDS stands there.
  mkdirSync(configDir, { recursive: true })
  if (config.customConfigFile) {
    const own = resolve(workdir, config.customConfigFile)
    try {
      accessSync(own, constants.R_OK)
    } catch (error) {
      throw new ConfigError('customConfigFile', errorText(error), { cause: error })
    }
    return own
  }
  const path = join(configDir, 'envoy-rev.json')
  writeFileSync(path, `${JSON.stringify(buildBootstrap(settings), null, 2)}\n`)
  return path
}

// The SDS server that a pod may bring for the credentials of Gateways and DestinationRules (`credentialName: sds://…`).
import { lstatSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { errorText } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'

/** Where istiod sends proxies for such credentials, below the agent's folder. */
const CREDENTIAL_SOCKET = './var/run/secrets/credential-uds/socket'
const CONNECT_TIMEOUT_MS = 1000

/**
 * Whether a server listens there, which the control plane has to know (node metadata `credential`). As in Istio's agent
 * a socket that nobody serves is removed, so that its server can make it anew.
 */
export async function findCredentialSocket(workdir: string, log: Logger): Promise<boolean> {
  const path = resolve(workdir, CREDENTIAL_SOCKET)
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false
  const client = new Client(`unix:${path}`, credentials.createInsecure())
  try {
    await new Promise<void>((done, fail) => {
      client.waitForReady(Date.now() + CONNECT_TIMEOUT_MS, (error) => (error ? fail(error) : done()))
    })
    log.info({ path }, 'credential SDS socket found')
    return true
  } catch (error) {
    log.warn({ path, reason: errorText(error) }, 'nobody serves the credential SDS socket: removed')
    rmSync(path, { force: true })
    return false
  } finally {
    client.close()
  }
}

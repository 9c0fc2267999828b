// gRPC towards the control plane and the CA: TLS trusted by the mesh's root, a service-account token as identity.
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type ChannelOptions, Client, credentials, Metadata } from '@grpc/grpc-js'
import { errorText, UserError } from '../base/errors.ts'

export interface ControlPlaneOptions {
  /** `host:port`. */
  readonly address: string
  /** TLS with the root certificate, or plaintext (ProxyConfig.controlPlaneAuthPolicy NONE; then no token is sent either). */
  readonly tls: boolean
  readonly rootCertPath: string
  readonly tokenPath: string
  /** Sent as `ClusterID` metadata; the CA and istiod use it to pick the cluster that checks the token. */
  readonly clusterId: string
}

const CHANNEL_OPTIONS: ChannelOptions = {
  // The pod's own traffic only: no proxy of the environment, no service-config look-ups.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
}

/** A new client. Reads the root certificate anew, so that a rotated one is used by the next connection. */
export function connectControlPlane(options: ControlPlaneOptions, channelOptions: ChannelOptions = {}): Client {
  const merged = { ...CHANNEL_OPTIONS, ...channelOptions }
  if (!options.tls) return new Client(options.address, credentials.createInsecure(), merged)
  let root: Buffer
  try {
    root = readFileSync(options.rootCertPath)
  } catch (error) {
    throw new UserError(`root certificate of the control plane: ${errorText(error)}`, 1, { cause: error })
  }
  return new Client(options.address, credentials.createSsl(root), merged)
}

/** Call metadata with the token as it is on disk now: projected tokens are renewed in place. */
export async function controlPlaneMetadata(options: ControlPlaneOptions): Promise<Metadata> {
  const metadata = new Metadata()
  if (!options.tls) return metadata
  const token = (await readFile(options.tokenPath, 'utf8')).trim()
  metadata.set('authorization', `Bearer ${token}`)
  metadata.set('ClusterID', options.clusterId)
  return metadata
}

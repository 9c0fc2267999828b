import { bool, type Infer, integer, list, map, message, oneOfNames, required, string } from '../schema.ts'
import { tlsProtocolVersion } from './common.ts'

const port = message({
  number: required(integer({ min: 0 })),
  protocol: required(string()),
  name: required(string()),
  targetPort: integer({ min: 0 }),
})
export type GatewayPort = Infer<typeof port>

const certificate = message({ serverCertificate: string(), privateKey: string(), caCertificates: string() })

export const serverTls = message({
  httpsRedirect: bool,
  mode: oneOfNames('PASSTHROUGH', 'SIMPLE', 'MUTUAL', 'AUTO_PASSTHROUGH', 'ISTIO_MUTUAL', 'OPTIONAL_MUTUAL'),
  serverCertificate: string(),
  privateKey: string(),
  caCertificates: string(),
  caCrl: string(),
  credentialName: string(),
  credentialNames: list(string(), { max: 2 }),
  caCertCredentialName: string(),
  insecureSkipVerify: bool,
  tlsCertificates: list(certificate, { max: 2 }),
  subjectAltNames: list(string()),
  verifyCertificateSpki: list(string()),
  verifyCertificateHash: list(string()),
  minProtocolVersion: tlsProtocolVersion,
  maxProtocolVersion: tlsProtocolVersion,
  cipherSuites: list(string()),
})
export type ServerTls = Infer<typeof serverTls>

const server = message({
  port: required(port),
  bind: string(),
  hosts: required(list(string())),
  tls: serverTls,
  defaultEndpoint: string(),
  name: string(),
})
export type GatewayServer = Infer<typeof server>

export const gateway = message({ servers: list(server), selector: map(string()) })
export type GatewaySpec = Infer<typeof gateway>

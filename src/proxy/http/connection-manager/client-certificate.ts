// x-forwarded-client-cert (envoy-contract §16.5).

import { byteString } from '../../../base/byte-string.ts'
import { fieldValue } from '../../../base/bytes.ts'
import type { SslInfo } from '../../network/connection.ts'
import type { HeaderMap } from '../header-map.ts'
import type { ClientCertDetails, ForwardClientCert } from './config.ts'

const XFCC = 'x-forwarded-client-cert'

/** The element of a connection depends on its certificates only: computed once per connection. */
const elements = new WeakMap<SslInfo, Map<ClientCertDetails, string>>()

/** `ssl` is null on a plain connection. Only a client that presented a certificate is forwarded. */
export function mutateClientCert(
  headers: HeaderMap,
  mode: ForwardClientCert,
  details: ClientCertDetails,
  ssl: SslInfo | null,
): void {
  if (mode === 'ALWAYS_FORWARD_ONLY') return
  const mutual = ssl?.peerCertificatePresented === true
  if (mode === 'SANITIZE' || !mutual) {
    headers.remove(XFCC)
    return
  }
  if (mode === 'FORWARD_ONLY') return
  const element = elementOf(ssl, details)
  if (mode === 'SANITIZE_SET') headers.set(XFCC, element)
  else headers.append(XFCC, element)
}

function elementOf(ssl: SslInfo, details: ClientCertDetails): string {
  let byDetails = elements.get(ssl)
  if (!byDetails) elements.set(ssl, (byDetails = new Map()))
  let element = byDetails.get(details)
  if (element === undefined) byDetails.set(details, (element = fieldValue(byteString(formatElement(ssl, details)))))
  return element
}

/** Keys in Envoy's order: By, Hash, Cert, Chain, Subject, URI, DNS. */
function formatElement(ssl: SslInfo, details: ClientCertDetails): string {
  const parts: string[] = []
  if (ssl.uriSanLocal.length > 0) for (const uri of ssl.uriSanLocal) parts.push(`By=${uri}`)
  parts.push(`Hash=${ssl.sha256Peer}`)
  if (details.cert) parts.push(`Cert="${ssl.pemPeer}"`)
  if (details.chain) parts.push(`Chain="${ssl.pemChainPeer}"`)
  if (details.subject) parts.push(`Subject="${ssl.subjectPeer.replaceAll('"', '\\"')}"`)
  if (details.uri) {
    if (ssl.uriSanPeer.length === 0) parts.push('URI=')
    for (const uri of ssl.uriSanPeer) parts.push(`URI=${uri}`)
  }
  if (details.dns) for (const dns of ssl.dnsSanPeer) parts.push(`DNS=${dns}`)
  return parts.join(';')
}

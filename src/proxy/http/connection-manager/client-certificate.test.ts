import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SslInfo } from '../../network/connection.ts'
import { rfc2253 } from '../../network/ssl-info.ts'
import { HeaderMap } from '../header-map.ts'
import { mutateClientCert } from './client-certificate.ts'

test('names of a certificate stay within x-forwarded-client-cert, whatever they say', () => {
  const ssl = {
    peerCertificatePresented: true,
    uriSanLocal: [],
    sha256Peer: 'ab',
    subjectPeer: rfc2253({ O: 'o', CN: '\u010d\u010ax-admin: true\n' }),
    uriSanPeer: ['spiffe://a\r\nx-admin: true'],
    dnsSanPeer: ['\u010a.example'],
  } as unknown as SslInfo
  const headers = new HeaderMap()
  const details = { cert: false, chain: false, subject: true, uri: true, dns: true }
  mutateClientCert(headers, 'SANITIZE_SET', details, ssl)
  assert.equal(
    headers.get('x-forwarded-client-cert'),
    'Hash=ab;Subject="CN=\\C4\\8D\\C4\\8Ax-admin: true\\0A,O=o";URI=spiffe://a  x-admin: true;DNS=\xc4\x8a.example',
  )
})

const CIPHER_SUITES: ReadonlySet<string> = new Set([
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-PSK-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-PSK-AES128-CBC-SHA',
  'AES128-SHA',
  'PSK-AES128-CBC-SHA',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'ECDHE-PSK-AES256-CBC-SHA',
  'AES256-SHA',
  'PSK-AES256-CBC-SHA',
  'DES-CBC3-SHA',
])

/**
 * What Istio passes on to proxies: the suites that it knows, and whatever is an expression of OpenSSL's (`ALL`, `-X`).
 * Others are left out, so that one misspelt name costs no listener.
 */
export function isCipherSuite(text: string): boolean {
  return text === '' || text === 'ALL' || !/^[\p{L}\p{N}]/u.test(text) || CIPHER_SUITES.has(text)
}

// Session ticket keys of Envoy's form: 80 bytes, that is name (16), HMAC-SHA256 key (32), AES-256-CBC key (32). The first
// encrypts, all decrypt; a ticket under an older key is replaced by a new one.

import { randomBytes } from 'node:crypto'
import { reportFault } from '../fault.ts'
import { runningOwner, type TicketKey } from './openssl/callbacks.ts'
import { configurationError } from './openssl/errors.ts'
import { addressOf, copyOf, nativeCallback, openssl, type Pointer, storeBytes } from './openssl/library.ts'

/** Bytes of one key. */
export const TICKET_KEY_BYTES = 80
const NAME_BYTES = 16
const IV_BYTES = 16

/** OpenSSL's answers of the callback (man SSL_CTX_set_tlsext_ticket_key_evp_cb). */
const FAILED = -1
const UNKNOWN_KEY = 0
const USED = 1
const USED_RENEW = 2

const TLS_1_3 = 0x304

/** What the callback needs; OpenSSL keeps pointers into it, so it lives as long as the thread. */
interface Machinery {
  readonly callback: Pointer
  /** AES-256-CBC. */
  readonly cipher: Pointer
  /** OSSL_PARAM[2]: digest = SHA256, end. */
  readonly macParameters: Buffer
}

let machinery: Machinery | undefined

export function splitTicketKey(key: Uint8Array): TicketKey {
  const bytes = Buffer.from(key)
  return { name: bytes.subarray(0, 16), hmac: bytes.subarray(16, 48), aes: bytes.subarray(48, 80) }
}

/** The keys themselves come from the connection's SslOwner when a ticket is made or read. */
export function useTicketKeys(context: Pointer): void {
  machinery ??= createMachinery()
  openssl().SSL_CTX_set_tlsext_ticket_key_evp_cb(context, machinery.callback)
}

function createMachinery(): Machinery {
  const cipher = openssl().EVP_CIPHER_fetch(null, 'AES-256-CBC', null)
  if (cipher === null) throw configurationError('AES-256-CBC')
  return {
    cipher,
    macParameters: digestParameter(),
    callback: nativeCallback(
      'int outrigger_ticket_key(void *ssl, void *name, void *iv, void *cipher, void *mac, int encrypt)',
      onTicketKey,
    ),
  }
}

const OSSL_PARAM_BYTES = 40
const OSSL_PARAM_UTF8_STRING = 4
const DIGEST_KEY = Buffer.from('digest\0')
const DIGEST_VALUE = Buffer.from('SHA256\0')

/** struct ossl_param_st: key, data type, data, size, returned size; one without key ends the list. */
function digestParameter(): Buffer {
  const parameters = Buffer.alloc(2 * OSSL_PARAM_BYTES)
  parameters.writeBigUInt64LE(addressOf(DIGEST_KEY), 0)
  parameters.writeUInt32LE(OSSL_PARAM_UTF8_STRING, 8)
  parameters.writeBigUInt64LE(addressOf(DIGEST_VALUE), 16)
  parameters.writeBigUInt64LE(BigInt(DIGEST_VALUE.length - 1), 24)
  return parameters
}

function onTicketKey(ssl: Pointer, name: Pointer, iv: Pointer, cipher: Pointer, mac: Pointer, encrypt: number): number {
  try {
    const keys = runningOwner()?.ticketKeys ?? []
    let at = 0
    if (encrypt === 1) {
      if (keys.length === 0) return FAILED
      storeBytes(name, keys[0]!.name)
      storeBytes(iv, randomBytes(IV_BYTES))
    } else {
      const wanted = copyOf(name, NAME_BYTES)
      at = keys.findIndex((key) => key.name.equals(wanted))
      if (at < 0) return UNKNOWN_KEY
    }
    if (!initialise(keys[at]!, cipher, mac, iv, encrypt)) return FAILED
    if (encrypt === 1) return USED
    // Tickets of TLS 1.3 are for one use, so there BoringSSL sends new ones with every resumption.
    return at > 0 || openssl().SSL_version(ssl) === TLS_1_3 ? USED_RENEW : USED
  } catch (error) {
    reportFault(error, 'session ticket')
    return FAILED
  }
}

function initialise(key: TicketKey, cipher: Pointer, mac: Pointer, iv: Pointer, encrypt: number): boolean {
  const lib = openssl()
  const { cipher: algorithm, macParameters } = machinery!
  return (
    lib.EVP_CipherInit_ex(cipher, algorithm, null, key.aes, iv, encrypt) === 1 &&
    lib.EVP_MAC_init(mac, key.hmac, key.hmac.length, macParameters) === 1
  )
}

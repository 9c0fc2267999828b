// PEM texts into OpenSSL's objects. Every object made here is given to the context, which keeps its own reference, and
// freed here.

import { configurationError, takeErrors } from './errors.ts'
import { type OpenSsl, openssl, type Pointer } from './library.ts'

/** Without a password buffer OpenSSL would ask for one on the terminal. */
const NO_PASSWORD = Buffer.alloc(1)
const CTRL_CHAIN_CERT = 89
const END_OF_TEXT = 'no start line'

type Reader = 'PEM_read_bio_X509' | 'PEM_read_bio_X509_CRL' | 'PEM_read_bio_PrivateKey'

/** Calls `use` for each object of `pem`, at most `most` of them; how many there were. */
function eachObject(
  pem: string,
  read: Reader,
  password: string,
  most: number,
  use: (pointer: Pointer) => void,
): number {
  const lib = openssl()
  const bytes = Buffer.from(pem, 'latin1')
  const bio = lib.BIO_new_mem_buf(bytes, bytes.length)
  if (bio === null) throw configurationError('out of memory')
  const secret = password === '' ? NO_PASSWORD : Buffer.from(`${password}\0`)
  try {
    let count = 0
    for (; count < most; count++) {
      const pointer = lib[read](bio, null, null, secret)
      if (pointer === null) break
      try {
        use(pointer)
      } finally {
        free(lib, read, pointer)
      }
    }
    // The end of the text is an error too. Anything else is an object that cannot be read: without it a chain or a list
    // of authorities would be another one than was written.
    if (count === 0 || count === most) return count
    const broken = takeErrors().reasons.find((reason) => reason !== END_OF_TEXT)
    if (broken !== undefined) throw new Error(`object ${count + 1} cannot be read: ${broken}`)
    return count
  } finally {
    lib.BIO_free(bio)
  }
}

function free(lib: OpenSsl, read: Reader, pointer: Pointer): void {
  if (read === 'PEM_read_bio_X509') lib.X509_free(pointer)
  else if (read === 'PEM_read_bio_X509_CRL') lib.X509_CRL_free(pointer)
  else lib.EVP_PKEY_free(pointer)
}

/** Certificate chain (leaf first) and key of `context`. Throws what OpenSSL says. */
export function useCertificate(context: Pointer, chain: string, key: string, password: string): void {
  const lib = openssl()
  let leaf = true
  const certificates = eachObject(chain, 'PEM_read_bio_X509', '', 100, (certificate) => {
    const taken = leaf
      ? lib.SSL_CTX_use_certificate(context, certificate)
      : // The last argument 1 = the chain takes a reference of its own.
        lib.SSL_CTX_ctrl(context, CTRL_CHAIN_CERT, 1, certificate)
    leaf = false
    if (taken !== 1) throw configurationError('Failed to load certificate chain')
  })
  if (certificates === 0) throw configurationError('Failed to load certificate chain')
  const keys = eachObject(key, 'PEM_read_bio_PrivateKey', password, 1, (pointer) => {
    if (lib.SSL_CTX_use_PrivateKey(context, pointer) !== 1) throw configurationError('Failed to load private key')
  })
  if (keys === 0) throw configurationError('Failed to load private key')
  if (lib.SSL_CTX_check_private_key(context) !== 1) throw configurationError('Failed to load private key')
}

/** Trust anchors of `context`; with `announce` a server names them to its clients. Throws what OpenSSL says. */
export function trust(context: Pointer, pem: string, announce: boolean): void {
  const lib = openssl()
  const store = lib.SSL_CTX_get_cert_store(context)
  const count = eachObject(pem, 'PEM_read_bio_X509', '', Number.MAX_SAFE_INTEGER, (certificate) => {
    if (lib.X509_STORE_add_cert(store, certificate) !== 1) throw configurationError('Failed to load trusted CA')
    if (announce) lib.SSL_CTX_add_client_CA(context, certificate)
  })
  if (count === 0) throw configurationError('Failed to load trusted CA certificates')
}

/** Certificates as a stack that a verification can be told to trust. Throws what OpenSSL says. */
export class TrustAnchors {
  readonly stack: Pointer

  constructor(pem: string) {
    const lib = openssl()
    const stack = lib.OPENSSL_sk_new_null()
    if (stack === null) throw configurationError('out of memory')
    this.stack = stack
    const count = eachObject(pem, 'PEM_read_bio_X509', '', Number.MAX_SAFE_INTEGER, (certificate) => {
      lib.X509_up_ref(certificate)
      lib.OPENSSL_sk_push(stack, certificate)
    })
    if (count > 0) return
    this.free()
    throw configurationError('Failed to load trusted CA certificates')
  }

  free(): void {
    const lib = openssl()
    for (let i = lib.OPENSSL_sk_num(this.stack) - 1; i >= 0; i--) lib.X509_free(lib.OPENSSL_sk_value(this.stack, i))
    lib.OPENSSL_sk_free(this.stack)
  }
}

/** Names the authorities of `pem` to the clients of a server. */
export function announce(context: Pointer, pem: string): void {
  const lib = openssl()
  eachObject(pem, 'PEM_read_bio_X509', '', Number.MAX_SAFE_INTEGER, (certificate) => {
    lib.SSL_CTX_add_client_CA(context, certificate)
  })
}

/** Throws what OpenSSL says. */
export function useRevocationLists(context: Pointer, pem: string): void {
  const lib = openssl()
  const store = lib.SSL_CTX_get_cert_store(context)
  const count = eachObject(pem, 'PEM_read_bio_X509_CRL', '', Number.MAX_SAFE_INTEGER, (list) => {
    if (lib.X509_STORE_add_crl(store, list) !== 1) throw configurationError('Failed to load CRL')
  })
  if (count === 0) throw configurationError('Failed to load CRL')
}

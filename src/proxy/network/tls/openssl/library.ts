// OpenSSL's own functions. Node exports the OpenSSL that it is built with (for native addons), koffi calls it: about a
// tenth of a microsecond a call. Names, arguments and results are those of the OpenSSL manual (`man SSL_read`, …).
//
// What makes this safe: a pointer lives in one object, which frees it once and forgets it; JavaScript functions that
// OpenSSL calls run only inside a call of ours on the same thread; memory that OpenSSL keeps a pointer to is its own.

import { createRequire } from 'node:module'

/** The address of something that OpenSSL owns. */
export type Pointer = bigint
/** Memory that OpenSSL reads or writes during one call. */
export type Memory = Buffer | Int32Array | Pointer

type Result = number

export interface OpenSsl {
  ERR_clear_error(): void
  ERR_get_error(): number
  ERR_peek_error(): number
  ERR_reason_error_string(code: number): string | null

  BIO_s_mem(): Pointer
  BIO_new(method: Pointer): Pointer | null
  BIO_new_mem_buf(bytes: Buffer, length: number): Pointer | null
  BIO_new_socket(fd: number, close: number): Pointer | null
  BIO_up_ref(bio: Pointer): Result
  BIO_free(bio: Pointer): Result
  BIO_read(bio: Pointer, to: Memory, length: number): number
  BIO_write(bio: Pointer, from: Memory, length: number): number
  BIO_ctrl(bio: Pointer, command: number, number: number, pointer: null): number

  TLS_server_method(): Pointer
  TLS_client_method(): Pointer
  SSL_CTX_new(method: Pointer): Pointer | null
  SSL_CTX_free(context: Pointer): void
  SSL_CTX_ctrl(context: Pointer, command: number, number: number, pointer: Memory | string | null): number
  SSL_CTX_callback_ctrl(context: Pointer, command: number, callback: Pointer): number
  SSL_CTX_set_options(context: Pointer, options: number): number
  SSL_CTX_set_security_level(context: Pointer, level: number): void
  SSL_CTX_set_cipher_list(context: Pointer, list: string): Result
  SSL_CTX_set_ciphersuites(context: Pointer, list: string): Result
  SSL_CTX_use_certificate(context: Pointer, certificate: Pointer): Result
  SSL_CTX_use_PrivateKey(context: Pointer, key: Pointer): Result
  SSL_CTX_check_private_key(context: Pointer): Result
  SSL_CTX_get_cert_store(context: Pointer): Pointer
  SSL_CTX_add_client_CA(context: Pointer, certificate: Pointer): Result
  SSL_CTX_set_verify(context: Pointer, mode: number, callback: null): void
  SSL_CTX_set_verify_depth(context: Pointer, depth: number): void
  SSL_CTX_set_cert_verify_callback(context: Pointer, callback: Pointer, argument: null): void
  SSL_CTX_set_alpn_select_cb(context: Pointer, callback: Pointer, argument: null): void
  SSL_CTX_set_client_hello_cb(context: Pointer, callback: Pointer, argument: null): void
  SSL_CTX_set_session_id_context(context: Pointer, id: Buffer, length: number): Result
  SSL_CTX_set_timeout(context: Pointer, seconds: number): number
  SSL_CTX_set_num_tickets(context: Pointer, count: number): Result
  SSL_CTX_sess_set_new_cb(context: Pointer, callback: Pointer): void
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context: Pointer, callback: Pointer): Result

  SSL_new(context: Pointer): Pointer | null
  SSL_free(ssl: Pointer): void
  SSL_free_buffers(ssl: Pointer): Result
  SSL_ctrl(ssl: Pointer, command: number, number: number, pointer: Memory | string | null): number
  SSL_set_ciphersuites(ssl: Pointer, list: string): Result
  SSL_set_accept_state(ssl: Pointer): void
  SSL_set_connect_state(ssl: Pointer): void
  SSL_set0_rbio(ssl: Pointer, bio: Pointer): void
  SSL_set0_wbio(ssl: Pointer, bio: Pointer): void
  SSL_set_alpn_protos(ssl: Pointer, protocols: Buffer, length: number): Result
  SSL_set_session(ssl: Pointer, session: Pointer): Result
  SSL_do_handshake(ssl: Pointer): number
  SSL_read(ssl: Pointer, to: Memory, length: number): number
  SSL_write(ssl: Pointer, from: Memory, length: number): number
  SSL_shutdown(ssl: Pointer): number
  SSL_get_error(ssl: Pointer, result: number): number
  SSL_session_reused(ssl: Pointer): number
  SSL_version(ssl: Pointer): number
  SSL_get_version(ssl: Pointer): string
  SSL_get_servername(ssl: Pointer, type: number): string | null
  SSL_get_current_cipher(ssl: Pointer): Pointer | null
  SSL_get_pending_cipher(ssl: Pointer): Pointer | null
  SSL_CIPHER_get_name(cipher: Pointer): string
  SSL_get0_alpn_selected(ssl: Pointer, data: BigUint64Array, length: Uint32Array): void
  SSL_get0_peer_certificate(ssl: Pointer): Pointer | null
  SSL_get_peer_cert_chain(ssl: Pointer): Pointer | null
  SSL_get0_verified_chain(ssl: Pointer): Pointer | null
  SSL_get_peer_signature_type_nid(ssl: Pointer, nid: Int32Array): number
  SSL_get_verify_result(ssl: Pointer): number
  SSL_get_session(ssl: Pointer): Pointer | null
  SSL_SESSION_get_id(session: Pointer, length: Uint32Array): Pointer | null
  SSL_SESSION_get_protocol_version(session: Pointer): number
  SSL_SESSION_free(session: Pointer): void
  OPENSSL_sk_new_null(): Pointer | null
  OPENSSL_sk_push(stack: Pointer, item: Pointer): number
  OPENSSL_sk_free(stack: Pointer): void
  OPENSSL_sk_num(stack: Pointer): number
  OPENSSL_sk_value(stack: Pointer, index: number): Pointer
  OBJ_nid2sn(nid: number): string | null

  PEM_read_bio_X509(bio: Pointer, into: null, callback: null, password: Buffer): Pointer | null
  PEM_read_bio_X509_CRL(bio: Pointer, into: null, callback: null, password: Buffer): Pointer | null
  PEM_read_bio_PrivateKey(bio: Pointer, into: null, callback: null, password: Buffer): Pointer | null
  X509_up_ref(certificate: Pointer): Result
  X509_free(certificate: Pointer): void
  X509_CRL_free(list: Pointer): void
  EVP_PKEY_free(key: Pointer): void
  i2d_X509(certificate: Pointer, out: BigUint64Array | null): number
  X509_STORE_add_cert(store: Pointer, certificate: Pointer): Result
  X509_STORE_add_crl(store: Pointer, list: Pointer): Result
  X509_STORE_set_flags(store: Pointer, flags: number): Result
  X509_STORE_set_verify_cb(store: Pointer, callback: Pointer): void
  X509_verify_cert(context: Pointer): number
  X509_verify_cert_error_string(code: number): string
  X509_STORE_CTX_get_error(context: Pointer): number
  X509_STORE_CTX_set_error(context: Pointer, code: number): void
  X509_STORE_CTX_get_error_depth(context: Pointer): number
  X509_STORE_CTX_get0_cert(context: Pointer): Pointer | null
  X509_STORE_CTX_set0_trusted_stack(context: Pointer, stack: Pointer): void

  CRYPTO_malloc(bytes: number, file: string, line: number): Pointer | null

  EVP_CIPHER_fetch(library: null, name: string, properties: null): Pointer | null
  EVP_CipherInit_ex(context: Pointer, cipher: Pointer, engine: null, key: Buffer, iv: Pointer, encrypt: number): Result
  EVP_MAC_init(context: Pointer, key: Buffer, length: number, parameters: Buffer): Result

  /** libc's. */
  memcpy(to: Memory, from: Memory | Uint8Array | BigUint64Array, length: number): Pointer
}

const P = 'void *'

/** `name: [result, ...arguments]`, in C. */
const SIGNATURES: Readonly<Record<keyof OpenSsl, readonly [string, ...string[]]>> = {
  ERR_clear_error: ['void'],
  ERR_get_error: ['unsigned long'],
  ERR_peek_error: ['unsigned long'],
  ERR_reason_error_string: ['const char *', 'unsigned long'],
  BIO_s_mem: [P],
  BIO_new: [P, P],
  BIO_new_mem_buf: [P, P, 'int'],
  BIO_new_socket: [P, 'int', 'int'],
  BIO_up_ref: ['int', P],
  BIO_free: ['int', P],
  BIO_read: ['int', P, P, 'int'],
  BIO_write: ['int', P, P, 'int'],
  BIO_ctrl: ['long', P, 'int', 'long', P],
  TLS_server_method: [P],
  TLS_client_method: [P],
  SSL_CTX_new: [P, P],
  SSL_CTX_free: ['void', P],
  SSL_CTX_ctrl: ['long', P, 'int', 'long', P],
  SSL_CTX_callback_ctrl: ['long', P, 'int', P],
  SSL_CTX_set_options: ['uint64_t', P, 'uint64_t'],
  SSL_CTX_set_security_level: ['void', P, 'int'],
  SSL_CTX_set_cipher_list: ['int', P, 'const char *'],
  SSL_CTX_set_ciphersuites: ['int', P, 'const char *'],
  SSL_CTX_use_certificate: ['int', P, P],
  SSL_CTX_use_PrivateKey: ['int', P, P],
  SSL_CTX_check_private_key: ['int', P],
  SSL_CTX_get_cert_store: [P, P],
  SSL_CTX_add_client_CA: ['int', P, P],
  SSL_CTX_set_verify: ['void', P, 'int', P],
  SSL_CTX_set_verify_depth: ['void', P, 'int'],
  SSL_CTX_set_cert_verify_callback: ['void', P, P, P],
  SSL_CTX_set_alpn_select_cb: ['void', P, P, P],
  SSL_CTX_set_client_hello_cb: ['void', P, P, P],
  SSL_CTX_set_session_id_context: ['int', P, P, 'unsigned int'],
  SSL_CTX_set_timeout: ['long', P, 'long'],
  SSL_CTX_set_num_tickets: ['int', P, 'size_t'],
  SSL_CTX_sess_set_new_cb: ['void', P, P],
  SSL_CTX_set_tlsext_ticket_key_evp_cb: ['int', P, P],
  SSL_new: [P, P],
  SSL_free: ['void', P],
  SSL_free_buffers: ['int', P],
  SSL_ctrl: ['long', P, 'int', 'long', P],
  SSL_set_ciphersuites: ['int', P, 'const char *'],
  SSL_set_accept_state: ['void', P],
  SSL_set_connect_state: ['void', P],
  SSL_set0_rbio: ['void', P, P],
  SSL_set0_wbio: ['void', P, P],
  SSL_set_alpn_protos: ['int', P, P, 'unsigned int'],
  SSL_set_session: ['int', P, P],
  SSL_do_handshake: ['int', P],
  SSL_read: ['int', P, P, 'int'],
  SSL_write: ['int', P, P, 'int'],
  SSL_shutdown: ['int', P],
  SSL_get_error: ['int', P, 'int'],
  SSL_session_reused: ['int', P],
  SSL_version: ['int', P],
  SSL_get_version: ['const char *', P],
  SSL_get_servername: ['const char *', P, 'int'],
  SSL_get_current_cipher: [P, P],
  SSL_get_pending_cipher: [P, P],
  SSL_CIPHER_get_name: ['const char *', P],
  SSL_get0_alpn_selected: ['void', P, P, P],
  SSL_get0_peer_certificate: [P, P],
  SSL_get_peer_cert_chain: [P, P],
  SSL_get0_verified_chain: [P, P],
  SSL_get_peer_signature_type_nid: ['int', P, P],
  SSL_get_verify_result: ['long', P],
  SSL_get_session: [P, P],
  SSL_SESSION_get_id: [P, P, P],
  SSL_SESSION_get_protocol_version: ['int', P],
  SSL_SESSION_free: ['void', P],
  OPENSSL_sk_new_null: [P],
  OPENSSL_sk_push: ['int', P, P],
  OPENSSL_sk_free: ['void', P],
  OPENSSL_sk_num: ['int', P],
  OPENSSL_sk_value: [P, P, 'int'],
  OBJ_nid2sn: ['const char *', 'int'],
  PEM_read_bio_X509: [P, P, P, P, P],
  PEM_read_bio_X509_CRL: [P, P, P, P, P],
  PEM_read_bio_PrivateKey: [P, P, P, P, P],
  X509_up_ref: ['int', P],
  X509_free: ['void', P],
  X509_CRL_free: ['void', P],
  EVP_PKEY_free: ['void', P],
  i2d_X509: ['int', P, P],
  X509_STORE_add_cert: ['int', P, P],
  X509_STORE_add_crl: ['int', P, P],
  X509_STORE_set_flags: ['int', P, 'unsigned long'],
  X509_STORE_set_verify_cb: ['void', P, P],
  X509_verify_cert: ['int', P],
  X509_verify_cert_error_string: ['const char *', 'long'],
  X509_STORE_CTX_get_error: ['int', P],
  X509_STORE_CTX_set_error: ['void', P, 'int'],
  X509_STORE_CTX_get_error_depth: ['int', P],
  X509_STORE_CTX_get0_cert: [P, P],
  X509_STORE_CTX_set0_trusted_stack: ['void', P, P],
  CRYPTO_malloc: [P, 'size_t', 'const char *', 'int'],
  EVP_CIPHER_fetch: [P, P, 'const char *', P],
  EVP_CipherInit_ex: ['int', P, P, P, P, P, 'int'],
  EVP_MAC_init: ['int', P, P, 'size_t', P],
  memcpy: [P, P, P, 'size_t'],
}

type Koffi = typeof import('koffi')

let koffi: Koffi | undefined
let loaded: OpenSsl | undefined

function loadKoffi(): Koffi {
  koffi ??= createRequire(import.meta.url)('koffi') as Koffi
  return koffi
}

/** Loaded at the first use of a thread. Throws where Node does not export OpenSSL (no official build is like that). */
export function openssl(): OpenSsl {
  if (loaded !== undefined) return loaded
  const library = loadKoffi().load(null)
  const functions: Record<string, unknown> = {}
  for (const [name, [result, ...parameters]] of Object.entries(SIGNATURES)) {
    try {
      functions[name] = library.func(name, result, parameters)
    } catch (cause) {
      throw new Error(
        `this Node.js does not export OpenSSL's ${name}: TLS needs a build with its OpenSSL 3 exported, such as those of nodejs.org`,
        { cause },
      )
    }
  }
  loaded = functions as unknown as OpenSsl
  return loaded
}

/**
 * Makes a C function of `call`, for the life of the thread. It runs inside calls of ours only, must not throw (C sees 0)
 * and gets pointers as addresses.
 */
export function nativeCallback(prototype: string, call: (...values: never[]) => number): Pointer {
  const k = loadKoffi()
  return k.register(call as never, k.pointer(k.proto(prototype))) as unknown as Pointer
}

/** Where a buffer's bytes are. Good as long as the buffer lives: use it for buffers that live for ever. */
export function addressOf(bytes: Buffer): Pointer {
  return loadKoffi().address(bytes) as unknown as Pointer
}

/** A copy of memory that OpenSSL owns. */
export function copyOf(pointer: Pointer, length: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(length)
  openssl().memcpy(copy, pointer, length)
  return copy
}

/** Writes to memory that OpenSSL gave for it. */
export function storeBytes(pointer: Pointer, bytes: Uint8Array): void {
  openssl().memcpy(pointer, bytes, bytes.length)
}

/** Writes an address to memory that OpenSSL gave for it. */
export function storePointer(pointer: Pointer, value: Pointer): void {
  openssl().memcpy(pointer, BigUint64Array.of(value), 8)
}

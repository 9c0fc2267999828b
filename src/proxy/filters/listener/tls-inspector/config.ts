import {
  type TlsInspector,
  TlsInspectorSchema,
} from '../../../../api/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import type { ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'

export interface TlsInspectorConfig {
  readonly ja3: boolean
  readonly ja4: boolean
  readonly maxHelloBytes: number
  /** What is no client hello is closed instead of passed on as plain text. */
  readonly closeOnErrors: boolean
}

/** Envoy's limit of a client hello. */
const MAX_CLIENT_HELLO_BYTES = 16 * 1024

// initial_read_buffer_size is a hint for buffer allocation; buffers here grow with what comes.
const FIELDS = new Set([
  'enable_ja3_fingerprinting',
  'enable_ja4_fingerprinting',
  'initial_read_buffer_size',
  'close_connection_on_client_hello_parsing_errors',
  'max_client_hello_size',
])

/** Throws ConfigError. */
export function parseTlsInspector(message: TlsInspector, context: ParseContext): TlsInspectorConfig {
  refuseUnsupported(TlsInspectorSchema, message, FIELDS, context.path)
  return {
    ja3: message.enableJa3Fingerprinting ?? false,
    ja4: message.enableJa4Fingerprinting ?? false,
    maxHelloBytes: message.maxClientHelloSize ?? MAX_CLIENT_HELLO_BYTES,
    closeOnErrors: message.closeConnectionOnClientHelloParsingErrors,
  }
}

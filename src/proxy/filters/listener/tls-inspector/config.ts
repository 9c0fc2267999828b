import {
  type TlsInspector,
  TlsInspectorSchema,
} from '../../../../api/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import type { ParseContext } from '../../../config/extension.ts'
import { refuseUnsupported } from '../../../config/supported-fields.ts'

// initial_read_buffer_size is a hint for buffer allocation; buffers here grow with what comes.
const FIELDS = new Set(['initial_read_buffer_size'])

/** Nothing to configure; fingerprints (JA3) are refused: nothing here computes them. */
export function parseTlsInspector(message: TlsInspector, context: ParseContext): null {
  refuseUnsupported(TlsInspectorSchema, message, FIELDS, context.path)
  return null
}

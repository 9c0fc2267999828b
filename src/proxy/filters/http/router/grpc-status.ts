import { ownValue } from '../../../../base/own-property.ts'

/** gRPC status → the HTTP status that stats and outlier detection count (envoy-contract §5.8). Unknown ones are 500. */
const HTTP_OF_GRPC: Record<string, number> = {
  '0': 200,
  '1': 499,
  '2': 500,
  '3': 400,
  '4': 504,
  '5': 404,
  '6': 409,
  '7': 403,
  '8': 429,
  '9': 400,
  '10': 409,
  '11': 400,
  '12': 501,
  '13': 500,
  '14': 503,
  '15': 500,
  '16': 401,
}

export function grpcToHttp(status: string): number {
  return ownValue(HTTP_OF_GRPC, status) ?? 500
}

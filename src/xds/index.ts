// The client's half of the room, for the data plane. The server's half is server.ts: a sidecar need not load it.
export { askOnce, type Question } from './ask-once.ts'
export {
  ADS_CHANNEL_OPTIONS,
  AdsClient,
  type AdsClientOptions,
  type AdsStats,
  type AdsTransport,
  type ReceivedResource,
  type ResourceChange,
  type ResourceHandler,
  type SubscribeOptions,
  type Subscription,
} from './client.ts'
export * from './type-urls.ts'

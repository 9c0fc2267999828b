// A gRPC client whose channel is configured over xDS, in a process of its own: its library keeps a process alive for long.
// Answers each message with the reply to one call of `/test.Echo/Who`.
import { Client, credentials } from '@grpc/grpc-js'
import { register } from '@grpc/grpc-js-xds'

register()
const client = new Client(process.argv[2]!, credentials.createInsecure())
process.on('message', () => {
  client.makeUnaryRequest(
    '/test.Echo/Who',
    (value: string) => Buffer.from(value),
    (value: Buffer) => value.toString(),
    'who',
    { deadline: Date.now() + 10_000 },
    (error, value) => process.send!(error ? `error: ${error.message}` : value!),
  )
})

/** A nats-server with its roles, a stand-in service on it, and the environment of mailctl for a role. */
import type { JwtVerifier } from '#shared/jwt.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { type StandIn, startStandIn } from '../http/stand-in.ts'
import { type NatsRole, type NatsServer, startNatsServer } from '../support/nats-server.ts'

export type CliBox = {
  nats: NatsServer
  service: StandIn
  env(role: NatsRole, more?: Record<string, string>): Record<string, string>
  connect(role: NatsRole): Promise<NatsConnection>
  [Symbol.asyncDispose](): Promise<void>
}

/** Without a verifier the stand-in serves mail.as.* only. */
export async function cliBox(verifier: JwtVerifier | null = null): Promise<CliBox> {
  await using stack = new AsyncDisposableStack()
  const nats = stack.use(await startNatsServer())
  const log = createLog('test', 'silent')
  const connections = stack.use(new AsyncDisposableStack())
  const connect = async (role: NatsRole): Promise<NatsConnection> => {
    const login = { user: role, password: nats.passwords[role] }
    const options = { url: nats.url, name: 'test', inboxPrefix: `_INBOX_${role}`, ...login }
    const nc = await connectNats(options, log, AbortSignal.timeout(10_000))
    connections.defer(() => drainNats(nc, log))
    return nc
  }
  const service = await startStandIn(await connect('mailsync'), verifier)
  const parts = stack.move()
  return {
    nats,
    service,
    connect,
    env: (role, more = {}) => ({
      NATS_URL: nats.url,
      NATS_USER: role,
      NATS_PASSWORD: nats.passwords[role],
      NO_COLOR: '1',
      ...more,
    }),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

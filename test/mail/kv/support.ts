/** A real nats-server, and connections to it as the service has them. */
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import type { AccountRecord } from '../../../services/mail/kv/account-record.ts'
import { type NatsRole, type NatsServer, startNatsServer } from '../../support/nats-server.ts'

export const log = createLog('test', process.env.TEST_LOG ?? 'silent')

export type KvBox = {
  server: NatsServer
  nc: NatsConnection
  connect(role?: NatsRole, port?: number): Promise<NatsConnection>
  [Symbol.asyncDispose](): Promise<void>
}

export async function kvBox(): Promise<KvBox> {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startNatsServer())
  const connections = stack.use(new AsyncDisposableStack())
  const connect = async (role: NatsRole = 'mailsync', port = server.port): Promise<NatsConnection> => {
    const login = { user: role, password: server.passwords[role], name: 'test', inboxPrefix: inboxPrefix(role) }
    const nc = await connectNats({ url: `nats://127.0.0.1:${port}`, ...login }, log, AbortSignal.timeout(20_000))
    connections.defer(() => drainNats(nc, log))
    return nc
  }
  const nc = await connect()
  const parts = stack.move()
  return { server, nc, connect, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

export const connected = (more: Partial<AccountRecord> = {}): AccountRecord => ({
  v: 1,
  desired: 'connected',
  mailbox: 'ada@example.com',
  address: 'ada@example.com',
  credential: 'sealed',
  revoke: null,
  reauth: null,
  updated_at: 1_700_000_000,
  ...more,
})

/** Connections of a test as one of the NATS users of a server. */
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import type { NatsServer } from '../support/nats-server.ts'

const silent = createLog('test', 'silent')

/** Connects as a user with its own inbox prefix; on a server without users as nobody. It ends with the stack. */
export async function connectAs(
  stack: AsyncDisposableStack,
  server: NatsServer,
  user: string,
  password: string,
): Promise<NatsConnection> {
  const login = server.conf === 'roles' ? { user, password } : {}
  const options = { url: server.url, name: `test ${user}`, inboxPrefix: inboxPrefix(user), ...login }
  const nc = await connectNats(options, silent, AbortSignal.timeout(20_000))
  stack.defer(() => drainNats(nc, silent))
  return nc
}

/** A bridge in this process, in front of a real nats-server, a stand-in service and a real Better Auth. */

import { pino } from 'pino'
import { createJwtVerifier } from '#shared/jwt.ts'
import { createLog, describeError } from '#shared/log.ts'
import { connectNats, drainNats } from '#shared/nats.ts'
import { runBridge } from '../../services/http/app.ts'
import { readHttpConfig } from '../../services/http/config.ts'
import { type BetterAuthServer, startBetterAuth } from '../support/better-auth.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { type StandIn, startStandIn } from './stand-in.ts'

export type BridgeBox = {
  url: string
  nats: NatsServer
  auth: BetterAuthServer
  service: StandIn
  /** Every line that the bridge has logged, from debug on. */
  logged: string[]
  /** Stops the bridge as SIGTERM does; resolves when it has ended. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export async function bridgeBox(): Promise<BridgeBox> {
  await using stack = new AsyncDisposableStack()
  const nats = stack.use(await startNatsServer())
  const auth = stack.use(await startBetterAuth())
  const log = createLog('test', 'silent')
  const nc = await connectNats(
    {
      url: nats.url,
      user: 'mailsync',
      password: nats.passwords.mailsync,
      name: 'stand-in',
      inboxPrefix: '_INBOX_mailsync',
    },
    log,
    AbortSignal.timeout(10_000),
  )
  stack.defer(() => drainNats(nc, log))
  const verifier = createJwtVerifier({ jwksUrl: auth.jwksUrl, issuer: auth.url, audience: auth.url })
  const service = await startStandIn(nc, verifier)
  const config = readHttpConfig({
    NATS_URL: nats.url,
    NATS_USER: 'bridge',
    NATS_PASSWORD: nats.passwords.bridge,
    BETTER_AUTH_JWKS_URL: auth.jwksUrl,
    HTTP_PORT: '0',
  })
  const logged: string[] = []
  const bridgeLog = pino(
    { level: 'debug', serializers: { err: describeError } },
    { write: (line) => logged.push(line) },
  )
  const stopping = new AbortController()
  const listening = Promise.withResolvers<string>()
  const done = runBridge(config, bridgeLog, stopping.signal, listening.resolve)
  done.catch(listening.reject)
  const stop = async (): Promise<void> => {
    stopping.abort()
    await done
  }
  stack.defer(stop)
  const url = await listening.promise
  const parts = stack.move()
  return { url, nats, auth, service, logged, stop, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

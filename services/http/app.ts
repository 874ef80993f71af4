/** The bridge from top to bottom: NATS, token verifier, routes, socket; closed in reverse. It holds no state. */
import { requestOperation } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import { createJwtVerifier } from '#shared/jwt.ts'
import { aborted } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { connectNats, drainNats, followStatus, type NatsConnection, whyClosed } from '#shared/nats.ts'
import { anyInstance } from '#shared/service-view.ts'
import packageJson from '../../package.json' with { type: 'json' }
import type { HttpConfig } from './config.ts'
import { openApi } from './openapi.ts'
import { createRoutes, type HttpPorts } from './routes.ts'
import { listen } from './server.ts'
import { createHttpTelemetry } from './telemetry.ts'

const READY_WAIT_MS = 1_000

/** Runs the bridge until the signal aborts. `onListening` gets the URL that was bound. */
export async function runBridge(
  config: HttpConfig,
  log: Log,
  signal: AbortSignal,
  onListening: (url: string) => void = () => undefined,
): Promise<void> {
  const nc = await connectNats(config.nats, log, signal)
  let connected = true
  const status = followStatus(nc, log, {
    connected: () => {
      connected = true
    },
    disconnected: () => {
      connected = false
    },
  })
  try {
    const server = await listen(createRoutes(portsOf(config, log, signal, nc, () => connected)).fetch, config, log)
    log.info({ url: server.url }, 'listening')
    onListening(server.url)
    const fault = await Promise.race([aborted(signal), whyClosed(nc, config.nats)])
    await server.close()
    if (fault) throw fault
  } finally {
    await drainNats(nc, log)
    await status
  }
}

function portsOf(
  config: HttpConfig,
  log: Log,
  stop: AbortSignal,
  nc: NatsConnection,
  isConnected: () => boolean,
): HttpPorts {
  const telemetry = createHttpTelemetry(nc)
  // Nothing is buffered while NATS is away: a request would only wait for its deadline.
  const refuseDisconnected = (): void => {
    if (!isConnected()) throw new AppError('NO_INSTANCE', { nats: 'disconnected' })
  }
  return {
    verifier: createJwtVerifier(config.jwt),
    async forward(operation, call) {
      refuseDisconnected()
      return await requestOperation(nc, operation, call)
    },
    async ready() {
      refuseDisconnected()
      if (!(await anyInstance(nc, READY_WAIT_MS))) throw new AppError('NO_INSTANCE', { nats: 'connected' })
    },
    metrics: telemetry.text,
    answered: telemetry.answered,
    openApi: openApi(packageJson.version),
    // As many as connections: more come only from those who do not wait for an answer.
    concurrent: config.connectionsMax,
    stopping: () => stop.aborted,
    log,
  }
}

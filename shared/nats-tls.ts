/**
 * Why a connection to NATS over TLS does not come about, where only another certificate, authority or server can mend it.
 * It asks the server itself, because the client does not pass on what a server says after the handshake.
 */
import { connect, isIP } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { EXIT_CONFIG, ExitError } from './lifecycle.ts'
import { type NatsLogin, type NatsTls, serversOf, serverUrl } from './nats-login.ts'

const DEFAULT_PORT = 4222
/** How long a server may take to refuse a certificate. */
const ALERT_WAIT_MS = 3_000

/**
 * Returns when the error has nothing to do with TLS.
 * @throws ExitError 78 that says what to check
 */
export async function refuseTlsFault(
  { url, tls }: Pick<NatsLogin, 'url' | 'tls'>,
  error: unknown,
  signal: AbortSignal,
): Promise<void> {
  refuseKnown(url, error)
  if (tls === undefined) return
  for (const server of serversOf(url)) refuseKnown(server, await faultOfHandshake(server, tls, signal))
}

function refuseKnown(url: string, error: unknown): void {
  const refuse = (what: string): never => {
    throw new ExitError(EXIT_CONFIG, what, { cause: error })
  }
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (/does not support 'tls'|is not available on this server/.test(at.message))
      refuse(`${url} offers no TLS, which NATS_URL or NATS_TLS_CA demands`)
    const code = 'code' in at && typeof at.code === 'string' ? at.code : ''
    if (/ALERT/.test(code)) refuse(`${url} refuses our certificate (${code}): check NATS_TLS_CERT and NATS_TLS_KEY`)
    if (/CERT|UNABLE_TO|SELF_SIGNED|^ERR_TLS/.test(code))
      refuse(`the certificate of ${url} cannot be trusted (${code}): check NATS_TLS_CA and the name in NATS_URL`)
  }
}

/**
 * With TLS 1.3 a client is through with the handshake before the server has looked at its certificate. The client of NATS
 * then writes, so that the refusal can get lost with the connection, and dials again; this one only listens.
 */
async function faultOfHandshake(server: string, tls: NatsTls, signal: AbortSignal): Promise<unknown> {
  const { hostname, port } = serverUrl(server)
  const host = hostname.replace(/^\[|\]$/g, '')
  const socket = connect(port === '' ? DEFAULT_PORT : Number(port), host)
  const fault = Promise.withResolvers<unknown>()
  socket.on('error', fault.resolve)
  // The server speaks first, then it waits for the handshake.
  socket.once('data', () => {
    const secure = connectTls({ socket, host, ...(isIP(host) === 0 ? { servername: host } : {}), ...tls })
    secure.on('error', fault.resolve)
    secure.once('close', () => fault.resolve(undefined))
  })
  try {
    return await Promise.race([fault.promise, sleep(ALERT_WAIT_MS, undefined, { ref: false, signal })])
  } finally {
    socket.destroy()
  }
}

/**
 * The endpoints in a thread of their own, with a connection of their own: work that holds the other thread for milliseconds
 * keeps no request from being read, judged and refused, nor a status that was just looked up from being shown.
 */
import type { MessagePort } from 'node:worker_threads'
import { createJwtVerifier } from '#shared/jwt.ts'
import { aborted, ExitError } from '#shared/lifecycle.ts'
import { createLog, type Log } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection, whyClosed } from '#shared/nats.ts'
import { Secret } from '#shared/secret.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import { systemClock } from '../base/time.ts'
import { Caller } from './caller.ts'
import type { ConnectOptions, FromThread, PlainLogin, StartOptions, ThreadFault, ToThread } from './calls.ts'
import { RecentStatus } from './recent-status.ts'
import { ControlService, type Handlers } from './service.ts'

/** Waits to be started, answers until it is told to stop or cannot go on, and tells why it has ended. Never rejects. */
export async function answerRequests(port: MessagePort): Promise<void> {
  const post = (message: FromThread): void => port.postMessage(message)
  const caller = new Caller(post)
  const connecting = Promise.withResolvers<ConnectOptions>()
  const started = Promise.withResolvers<StartOptions>()
  const stop = new AbortController()
  port.on('message', (message: ToThread) => {
    if (message.kind === 'connect') connecting.resolve(message.options)
    else if (message.kind === 'start') started.resolve(message.options)
    else if (message.kind === 'stop') stop.abort(new Error('told to stop'))
    else caller.answered(message)
  })
  let fault: ThreadFault | null = null
  try {
    fault = faultOf(await answerUntil(stop.signal, await connecting.promise, started.promise, caller, post))
  } catch (error) {
    if (!stop.signal.aborted) fault = faultOf(error)
  }
  post({ kind: 'stopped', fault })
  port.close()
}

/** @returns why it has ended by itself, or null */
async function answerUntil(
  stop: AbortSignal,
  { nats, instance, logLevel }: ConnectOptions,
  started: Promise<StartOptions>,
  caller: Caller,
  post: (message: FromThread) => void,
): Promise<unknown> {
  const log = createLog('mail-sync', logLevel)
  const login = loginOf(nats)
  const prefix = inboxPrefix(nats.user)
  const nc = await connectNats({ ...login, name: `mail-sync ${instance} endpoints`, inboxPrefix: prefix }, log, stop)
  try {
    void tellFaults(nc, log)
    const options = await Promise.race([started, aborted(stop)])
    if (options === undefined) return null
    using recent = new RecentStatus((userId) => caller.call('status', userId), systemClock, log)
    await using service = await ControlService.start({
      ...options,
      nc,
      jwt: createJwtVerifier(options.jwt),
      handlers: handlersOf(caller, recent),
      log,
      clock: systemClock,
      metrics: () => caller.call('metrics'),
    })
    post({ kind: 'answers' })
    const told = new Promise<null>((resolve) => stop.addEventListener('abort', () => resolve(null), { once: true }))
    const ended = service.stopped.then(async (error) => (nc.isClosed() ? await whyClosed(nc, login) : error))
    return await Promise.race([told, ended.then((error) => error ?? new Error('the micro service stopped'))])
  } finally {
    await drainNats(nc, log)
  }
}

/** What was looked up before an answer that changes something of a user, as an audit does too, is not shown after it. */
function handlersOf(caller: Caller, recent: RecentStatus): Handlers {
  const changes = <T>(userId: string, work: Promise<T>): Promise<T> => work.finally(() => recent.changed(userId))
  return {
    connect: (userId, ...of) => changes(userId, caller.call('connect', userId, ...of)),
    status: (userId) => recent.ask(userId),
    disconnect: (userId, ...of) => changes(userId, caller.call('disconnect', userId, ...of)),
    erase: (userId, ...of) => changes(userId, caller.call('erase', userId, ...of)),
    ownerStatus: (userId) => caller.call('ownerStatus', userId),
    fleet: () => caller.call('fleet'),
    rekey: (...of) => caller.call('rekey', ...of),
    inspect: (name, userId, ...of) => changes(userId, caller.call('inspect', name, userId, ...of)),
    ownerInspect: (name, userId, ...of) => changes(userId, caller.call('ownerInspect', name, userId, ...of)),
  }
}

/** What else happens to a link the other connection tells. */
async function tellFaults(nc: NatsConnection, log: Log): Promise<void> {
  for await (const status of nc.status())
    if (status.type === 'error') log.error({ err: status.error }, 'NATS refused an operation of the endpoints')
}

const loginOf = ({ seed, ...login }: PlainLogin) => ({
  ...login,
  seed: seed === undefined ? undefined : new Secret(seed),
})

const faultOf = (error: unknown): ThreadFault => ({
  message: error instanceof Error ? error.message : String(error),
  exitCode: error instanceof ExitError ? error.exitCode : null,
})

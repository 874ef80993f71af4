/**
 * The connection as the micro service sees it: a request whose reply would go anywhere but to an inbox does not arrive, and
 * headers that cannot be read are a fault of the request.
 * This connection may write events and records; a caller who chose the subject of the reply would write with its rights.
 */
import type { Log } from '#shared/log.ts'
import type { Msg, NatsConnection } from '#shared/nats.ts'
import { isInbox } from '#shared/subjects.ts'
import { withSafeHeaders } from './request-headers.ts'

/** Refused requests per line of the log: whoever floods them must not fill a disk. */
const TOLD_EVERY = 1_000

type Subscribe = NatsConnection['subscribe']

/** Every subscription made through the answer is guarded; all else is the connection itself. */
export function inboxOnly(nc: NatsConnection, log: Log): NatsConnection {
  const refused = teller(log)
  const subscribe: Subscribe = (subject, options = {}) => {
    const { callback } = options
    if (callback === undefined) throw new TypeError('only subscriptions with a callback can be guarded')
    const guarded = (error: Error | null, msg: Msg): void => {
      if (error === null && !repliesToInbox(msg)) refused(msg.subject)
      else void callback(error, error === null ? withSafeHeaders(msg) : msg)
    }
    return nc.subscribe(subject, { ...options, callback: guarded })
  }
  return new Proxy(nc, {
    get(target, name) {
      if (name === 'subscribe') return subscribe
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** Without a reply nothing is answered. */
const repliesToInbox = ({ reply }: Msg): boolean => reply === undefined || reply === '' || isInbox(reply)

function teller(log: Log): (subject: string) => void {
  let refused = 0
  return (subject) => {
    if (refused++ % TOLD_EVERY === 0)
      log.warn({ subject, refused }, 'a request whose reply is no inbox was not answered')
  }
}

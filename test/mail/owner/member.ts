/** An instance as far as its session goes: heartbeats and the judgement of others, on a real bucket. */
import { BUCKET_LEASES } from '#shared/subjects.ts'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { LeaseLog } from '../../../services/mail/kv/lease-log.ts'
import type { SessionRecord } from '../../../services/mail/kv/lease-records.ts'
import { leaseTimes } from '../../../services/mail/owner/lease-times.ts'
import { Observer } from '../../../services/mail/owner/observer.ts'
import { Session } from '../../../services/mail/owner/session.ts'
import { type KvBox, log } from '../kv/support.ts'

export const TIMES = leaseTimes(1_200)
type MemberOptions = { port?: number; clock?: Clock; directory?: string; holdsDirectory?: () => boolean }

export const record = (name: string, more: Partial<SessionRecord> = {}): SessionRecord => ({
  v: 1,
  kind: 'session',
  name,
  address: `at-${name}`,
  directory: name,
  state: 'live',
  n: 1,
  version: '0',
  ...more,
})

export async function member(box: KvBox, name: string, options: MemberOptions = {}) {
  const clock = options.clock ?? systemClock
  const bucket = await Bucket.open(await box.connect('mailsync', options.port ?? box.server.port), BUCKET_LEASES)
  const leases = new LeaseLog(() => bucket, clock, log)
  const { directory = name, holdsDirectory = () => true } = options
  const identity = { name, directory, holdsDirectory, address: `at-${name}`, version: '0' }
  const session = new Session(leases, TIMES, identity, clock, log)
  const observer = new Observer(leases, session, TIMES, clock, log)
  const lost: string[] = []
  session.onLost = () => lost.push(session.sid)
  const stop = new AbortController()
  const running = [leases.run(stop.signal), session.run(stop.signal)]
  return {
    leases,
    session,
    observer,
    lost,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.all(running)
    },
  }
}
/** A bucket that no member looks through. */
export async function aside(box: KvBox): Promise<LeaseLog> {
  const bucket = await Bucket.open(box.nc, BUCKET_LEASES)
  return new LeaseLog(() => bucket, systemClock, log)
}

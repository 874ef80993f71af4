/** SIGTERM: tell the others, then give back one user after another as its work ends. Bounded by the drain limit. */
import type { Log } from '#shared/log.ts'
import { type Clock, endsWithin } from '../base/time.ts'
import type { LeaseLog } from '../kv/lease-log.ts'
import type { Moves } from './moves.ts'
import type { Session } from './session.ts'
import type { Tenure } from './tenure.ts'

type HandOver = {
  session: Session
  tenures: ReadonlyMap<string, Tenure>
  moves: Moves
  release(userId: string, tenure: Tenure): Promise<void>
  drainMs: number
  clock: Clock
  log: Log
}

export async function handOver(parts: HandOver): Promise<void> {
  const { tenures, drainMs, clock, log } = parts
  if (await endsWithin(clock, drainMs, releaseAll(parts))) return
  log.error({ users: tenures.size }, 'drain limit reached; the rest is taken over after the silence')
  await Promise.allSettled([...tenures.values()].map((tenure) => tenure.drop(new Error('drain limit'))))
}

/** Instances are stopping, and none of them has a user any more. */
export function haveLeft({ sessions, leases }: Pick<LeaseLog, 'sessions' | 'leases'>): boolean {
  const leaving = new Set(
    [...sessions.values()].filter(({ record }) => record.state === 'draining').map(({ sid }) => sid),
  )
  if (leaving.size === 0) return false
  for (const { record } of leases.values()) if (record.owner !== null && leaving.has(record.owner)) return false
  return true
}

async function releaseAll({ session, tenures, moves, release, log }: HandOver): Promise<void> {
  await session.drain().catch((error) => log.warn({ err: error }, 'the others could not be told'))
  await moves.settled()
  for (const [userId, tenure] of tenures) moves.start(userId, () => release(userId, tenure))
  await moves.settled()
}

export async function closeSession(session: Session, log: Log): Promise<void> {
  try {
    await session.close()
  } catch (error) {
    log.warn({ err: error }, 'the session could not be deleted; others wait for its silence')
  }
}

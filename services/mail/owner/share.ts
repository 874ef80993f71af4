/** Who shares users and quotas, and who should own whom: rendezvous hashing of users over stable names. Pure. */
import { hash } from 'node:crypto'
import type { SeenSession } from '../kv/lease-log.ts'

/**
 * The sid that stands for each stable name: of two live sessions with one name the later counts. Instances whose disk can
 * keep nothing are left out, unless there are only such.
 */
export function membersOf(sessions: Iterable<SeenSession>): Map<string, string> {
  const latest = new Map<string, SeenSession>()
  for (const session of sessions) {
    if (session.record.state !== 'live') continue
    const rival = latest.get(session.record.name)
    if (rival === undefined || sidOrder(session.sid, rival.sid) > 0) latest.set(session.record.name, session)
  }
  const all = [...latest.values()]
  const able = all.filter(({ record }) => record.full === undefined)
  return new Map((able.length > 0 ? able : all).map(({ record, sid }) => [record.name, sid]))
}

/** How many instances are at work: those that are live or still handing users over, and the own one, seen or not. */
export function instancesAtWork(sessions: Iterable<SeenSession>, own: string): number {
  const names = new Set([own])
  for (const { record } of sessions) if (record.state !== 'dead') names.add(record.name)
  return names.size
}

/** What a name is worth for a user; of all names the highest counts. */
type Score = { name: string; score: string }
export const scoreOf = (userId: string, name: string): Score => ({
  name,
  score: hash('sha256', `${name}\0${userId}`, 'hex'),
})
const outscores = (a: Score, b: Score): boolean => a.score > b.score || (a.score === b.score && a.name > b.name)

/** The best of the names for the user; null when there is none and nothing was best before. */
export function bestOf(userId: string, names: Iterable<string>, before: Score | null = null): Score | null {
  let best = before
  for (const name of names) {
    const score = scoreOf(userId, name)
    if (best === null || outscores(score, best)) best = score
  }
  return best
}

/** The name of the instance that should own the user; null when there is none. */
export const desiredOwner = (userId: string, names: Iterable<string>): string | null =>
  bestOf(userId, names)?.name ?? null

/** sids are UUIDv7: their order is the order of their making. */
const sidOrder = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** What becomes of dead sessions, however unsure of itself the instance is that looks at them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LeaseLog, SeenSession } from '../../../services/mail/kv/lease-log.ts'
import type { SessionRecord } from '../../../services/mail/kv/lease-records.ts'
import { leaseTimes } from '../../../services/mail/owner/lease-times.ts'
import { Observer } from '../../../services/mail/owner/observer.ts'
import type { Session } from '../../../services/mail/owner/session.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { log } from '../kv/support.ts'

const HOUR_MS = 3_600_000
const TIMES = leaseTimes(6_000)

const seen = (sid: string, state: SessionRecord['state'], changedMonoMs: number): SeenSession => ({
  sid,
  revision: 1,
  changedMonoMs,
  record: { v: 1, kind: 'session', name: sid, address: sid, directory: sid, state, n: 1, version: '0.0.0' },
})

for (const [what, unsureEveryMs] of [
  ['sure of itself all the time', Number.POSITIVE_INFINITY],
  ['unsure for a moment every fifty minutes', 50 * 60_000],
] as const)
  test(`a dead session is collected after an hour by an instance that is ${what}`, async () => {
    const clock = new ManualClock()
    const startMs = clock.monoMs()
    const sessions = new Map([['dead', seen('dead', 'dead', startMs)]])
    const removed: string[] = []
    const own = { sid: 'own', valid: true, succeeds: () => false }
    const leases = {
      replica: { fresh: true, renew: () => undefined },
      sessions,
      removeSession: async (sid: string) => void (sessions.delete(sid) && removed.push(sid)),
    }
    const observer = new Observer(leases as unknown as LeaseLog, own as unknown as Session, TIMES, clock, log)
    const scanAt = async (ms: number): Promise<void> => {
      await clock.advance(ms)
      sessions.set('own', seen('own', 'live', clock.monoMs()))
      own.valid = (clock.monoMs() - startMs) % unsureEveryMs !== 0 || unsureEveryMs === Number.POSITIVE_INFINITY
      await observer.scan()
    }
    for (let minute = 0; minute < 59; minute++) await scanAt(60_000)
    assert.deepEqual(removed, [])
    for (let minute = 0; minute < 3; minute++) await scanAt(60_000)
    assert.deepEqual(removed, ['dead'])
    assert.ok(clock.monoMs() - startMs < 2 * HOUR_MS)
  })

test('each session is judged by the silence that it has said of itself, and by the own one where it has said none', async () => {
  const clock = new ManualClock()
  const dead: string[] = []
  const silences = { quick: { silence_ms: 2_000 }, slow: { silence_ms: 20_000 }, silentOnThat: {} }
  const sessions = new Map<string, SeenSession>()
  for (const [sid, more] of Object.entries(silences)) {
    const session = seen(sid, 'live', clock.monoMs())
    sessions.set(sid, { ...session, record: { ...session.record, ...more } })
  }
  const leases = {
    replica: { fresh: true, renew: () => undefined },
    sessions,
    writeSession: async (sid: string) => void (sessions.delete(sid) && dead.push(sid)),
  }
  const own = { sid: 'own', valid: true, succeeds: () => false }
  const observer = new Observer(leases as unknown as LeaseLog, own as unknown as Session, TIMES, clock, log)
  const deadAt: Record<string, number> = {}
  for (let second = 0; second <= 21; second++) {
    sessions.set('own', seen('own', 'live', clock.monoMs()))
    await observer.scan()
    for (const sid of dead) deadAt[sid] ??= second
    await clock.advance(1_000)
  }
  assert.deepEqual(deadAt, { quick: 3, silentOnThat: 7, slow: 21 })
})

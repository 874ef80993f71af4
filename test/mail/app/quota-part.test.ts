/** What a mailbox at work takes of the quota that Google grants a user, against the simulator's ledger, in virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createProviders } from '../../../services/mail/app/providers.ts'
import { readConfig } from '../../../services/mail/base/config.ts'
import { createLedger } from '../../simulator/ledger.ts'
import { ManualClock } from '../base/manual-clock.ts'

const GET_UNITS = 20
const PER_MIN = 6_000
const MINUTE_MS = 60_000
const CONFIG = readConfig({ BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:9/jwks' })

test('a backfill uses nearly all that Google grants a user, and no minute more, not after a rest either', async () => {
  const clock = new ManualClock()
  const ledger = createLedger(
    { profile: '2026-05', graceMs: 0, monoMs: () => clock.monoMs(), projectPerMin: undefined },
    { now: () => clock.wallMs(), advance: () => undefined },
  )
  await using providers = createProviders(CONFIG, clock, {})
  const account = { userId: 'ada', provider: 'google', inboxId: 'primary' } as const
  const limiter = providers.limiter({ account, mailbox: () => null })
  let units = 0
  /** Asks as fast as it may; @returns units of a minute, of those after the first. */
  const work = async (minutes: number): Promise<number> => {
    const stop = new AbortController()
    const fetching = (async () => {
      while (!stop.signal.aborted)
        await limiter
          .run(GET_UNITS, 'backfill', stop.signal, async () => {
            units += ledger.charge('google', 'ada', 'gmail.messages.get', true) === null ? GET_UNITS : 0
          })
          .catch((error) => stop.signal.aborted || Promise.reject(error))
    })()
    await clock.advance(MINUTE_MS)
    const before = units
    await clock.advance((minutes - 1) * MINUTE_MS)
    const perMinute = (units - before) / (minutes - 1)
    stop.abort(new Error('enough'))
    await fetching
    return perMinute
  }
  const first = await work(4)
  await clock.advance(MINUTE_MS)
  const second = await work(3)
  for (const used of [first, second]) assert.ok(used >= 0.95 * PER_MIN, `${used} units a minute`)
  assert.equal(ledger.snapshot().overdraft, 0)
})

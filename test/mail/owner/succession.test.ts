/** Who may take over from an earlier process without waiting: only who proves that it is gone. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { v7 } from 'uuid'
import type { LeaseLog } from '../../../services/mail/kv/lease-log.ts'
import type { SessionRecord } from '../../../services/mail/kv/lease-records.ts'
import { membersOf } from '../../../services/mail/owner/share.ts'
import { until } from '../../support/until.ts'
import { kvBox } from '../kv/support.ts'
import { aside, member, record } from './member.ts'

type Member = Awaited<ReturnType<typeof member>>

const stateOf = async (log: LeaseLog, sid: string): Promise<SessionRecord['state'] | undefined> =>
  (await log.readSession(sid))?.record.state

const readyToJudge = (a: Member): Promise<unknown> =>
  until('it is ready to judge', () => a.session.valid && a.leases.sessions.has(a.session.sid) && a.leases.replica.fresh)

// Each has a server of its own, and most of their time is waiting.
describe('the succession on a data folder', { concurrency: 3 }, () => {
  test('the predecessor on the own data folder is declared dead at once, a namesake elsewhere after the silence', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    const [old, namesake] = [v7(), v7()]
    await others.writeSession(old, record('a', { directory: 'disk-1' }), null, 1_000)
    await others.writeSession(namesake, record('a', { directory: 'disk-2' }), null, 1_000)
    await using a = await member(box, 'a', { directory: 'disk-1' })
    await readyToJudge(a)
    await a.observer.scan()
    assert.deepEqual([await stateOf(others, old), await stateOf(others, namesake)], ['dead', 'live'])
    await until('the namesake is dead', async () => {
      await a.observer.scan()
      return (await stateOf(others, namesake)) === 'dead'
    })
  })

  test('control: without the lock on the data folder nothing proves that the predecessor is gone, and it is waited for', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    const old = v7()
    await others.writeSession(old, record('a'), null, 1_000)
    await using a = await member(box, 'a', { holdsDirectory: () => false })
    await readyToJudge(a)
    await a.observer.scan()
    assert.equal(await stateOf(others, old), 'live')
    await until('it is dead after the silence', async () => {
      await a.observer.scan()
      return (await stateOf(others, old)) === 'dead'
    })
  })

  test('a predecessor whose session is the later one, because the clock was set back since, is waited for', async () => {
    await using box = await kvBox()
    const others = await aside(box)
    const later = v7({ msecs: Date.now() + 3_600_000 })
    await others.writeSession(later, record('a'), null, 1_000)
    await using a = await member(box, 'a')
    await readyToJudge(a)
    await a.observer.scan()
    assert.equal(await stateOf(others, later), 'live')
    await until('it is dead after the silence', async () => {
      await a.observer.scan()
      return (await stateOf(others, later)) === 'dead'
    })
    assert.deepEqual(a.lost, [])
  })

  test('two processes on copies of one data folder settle: the later session counts, and both stay alive', async () => {
    await using box = await kvBox()
    await using a = await member(box, 'a', { directory: 'copied' })
    await until('a is valid', () => a.session.valid)
    const { sid } = a.session
    await using b = await member(box, 'a', { directory: 'copied' })
    const scanBoth = async (): Promise<void> => {
      await a.observer.scan()
      await b.observer.scan()
    }
    await until('a came back under a new session', async () => {
      await scanBoth()
      return a.session.valid && a.session.sid !== sid
    })
    const sids = [a.session.sid, b.session.sid]
    await until('both have beaten three times', async () => {
      await scanBoth()
      return sids.every((each) => (b.leases.sessions.get(each)?.record.n ?? 0) >= 3)
    })
    assert.deepEqual([a.session.sid, b.session.sid], sids)
    assert.deepEqual([a.lost, b.lost], [[sid], []])
    assert.deepEqual([...membersOf(b.leases.sessions.values())], [['a', a.session.sid]])
  })
})

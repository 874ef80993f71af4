/** Two instances in one process: who owns whom, and that nobody is left to nobody. */
import assert from 'node:assert/strict'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describe, test } from 'node:test'
import { BUCKET_STATE } from '#shared/subjects.ts'
import { type Clock, systemClock } from '../../../services/mail/base/time.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { addressOf } from '../../../services/mail/owner/lease-view.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { eventsOf } from '../../support/ledger.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { type Node, type OwnerBox, ownerBox, TWENTY } from './support.ts'

const USERS = Array.from({ length: 8 }, (_, i) => `user${i}`)
const owned = (node: Node): string[] => USERS.filter((user) => node.supervisor.owns(user))
const ownedBy = (node: Node, n = USERS.length) => until(`${node.name} owns ${n}`, () => owned(node).length === n)

async function eachOnce(box: OwnerBox, users = USERS): Promise<void> {
  const ops = await box.connect('ops')
  for (const user of users) {
    await until(`all mail of ${user}`, async () => (await eventsOf(ops, user)).length >= TWENTY)
    const ids = (await eventsOf(ops, user)).map(({ event }) => event.provider_message_id)
    assert.equal(new Set(ids).size, ids.length, `${user}: nothing twice`)
    assert.equal(ids.length, TWENTY)
  }
}

/** A checkpoint store whose reads wait for a gate. */
class SlowCheckpoints extends Checkpoints {
  gate: Promise<void> = Promise.resolve()
  reads = 0
  override async read(userId: string): ReturnType<Checkpoints['read']> {
    this.reads += 1
    await this.gate
    return await super.read(userId)
  }
}
async function slowCheckpoints(box: OwnerBox): Promise<SlowCheckpoints> {
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  return new SlowCheckpoints(() => bucket)
}

// Each has a server of its own, and most of their time is waiting.
describe('who owns whom', { concurrency: 3 }, () => {
  test('users are shared, handed over when one joins and taken back when it leaves, each mail once', async () => {
    await using box = await ownerBox()
    const a = await box.node('a')
    a.run()
    for (const user of USERS) await box.put(a, user)
    await ownedBy(a)
    const b = await box.node('b')
    b.run()
    const bs = USERS.filter((user) => desiredOwner(user, ['a', 'b']) === 'b')
    await until('b has its share', () => owned(b).length === bs.length && owned(a).length === USERS.length - bs.length)
    assert.deepEqual(owned(b), bs)
    await until('each knows where to ask', () =>
      USERS.every((user) => addressOf(user, a.leases) === (bs.includes(user) ? 'at-b' : 'at-a')),
    )
    await b.end()
    await ownedBy(a)
    await eachOnce(box)
  })

  test('a user without a connected account is given back once its outbox is empty', async () => {
    await using box = await ownerBox()
    const a = await box.node('a')
    a.run()
    await box.put(a, 'user0')
    await ownedBy(a, 1)
    await eachOnce(box, ['user0'])
    await box.put(a, 'user0', { desired: 'disconnected', credential: null })
    await until('it is given back', () => a.supervisor.tenures.size === 0 && a.leases.ownerOf('user0') === null)
  })

  test('a lease whose return was lost on the way is returned again: its user is not left to nobody', async () => {
    await using box = await ownerBox()
    await using proxy = await startProxy(box.server.port)
    // On a busy disk a short silence is over before the user is handed over, and nothing is returned.
    const a = await box.node('a', { port: proxy.port, silenceMs: 6_000 })
    a.run()
    const user = USERS.find((each) => desiredOwner(each, ['a', 'b']) === 'b')
    assert.ok(user !== undefined)
    await box.put(a, user)
    await ownedBy(a, 1)
    let isLost = false
    void proxy.dropNext('toServer', (chunk) => chunk.includes('"from":')).then(() => (isLost = true))
    const b = await box.node('b', { silenceMs: 6_000 })
    b.run()
    await until('the return is lost', () => isLost, { timeoutMs: 60_000 })
    await until('b owns the user', () => b.supervisor.owns(user), { timeoutMs: 60_000 })
    await eachOnce(box, [user])
  })

  test('a session that ends in the middle of a take-over leaves no user that nobody works for', async () => {
    await using box = await ownerBox()
    const checkpoints = await slowCheckpoints(box)
    const gate = Promise.withResolvers<void>()
    checkpoints.gate = gate.promise
    // With the short silence of the others a request has 167 ms, and a busy disk may need longer for each of many.
    const a = await box.node('a', { tenure: { checkpoints }, silenceMs: 6_000 })
    a.run()
    await box.put(a, 'user0')
    await until('the take-over is under way', () => checkpoints.reads === 1)
    const { sid } = a.supervisor.session
    await until('the session is declared dead', async () => {
      const seen = await a.leases.readSession(sid)
      return (
        seen !== null &&
        (await a.leases.writeSession(sid, { ...seen.record, state: 'dead' }, seen.revision, 1_000).then(
          () => true,
          () => false,
        ))
      )
    })
    // Each request has half a second, and a busy disk lets many of them fail.
    const isAnother = (): boolean => a.supervisor.session.valid && a.supervisor.session.sid !== sid
    await until('there is a new session', isAnother, { timeoutMs: 60_000 })
    gate.resolve()
    await eachOnce(box, ['user0'])
    assert.equal(a.leases.ownerOf('user0'), a.supervisor.session.sid)
  })

  test('of two instances with one name the later gets the users', async () => {
    await using box = await ownerBox()
    const first = await box.node('same', { directory: 'disk-1' })
    first.run()
    for (const user of USERS) await box.put(first, user)
    await ownedBy(first)
    const second = await box.node('same-2', { directory: 'disk-2', name: 'same' })
    second.run()
    await ownedBy(second)
    assert.deepEqual(owned(first), [])
    await eachOnce(box)
  })

  test('a hand-over ends at its limit even when a take-over hangs', async () => {
    await using box = await ownerBox()
    const checkpoints = await slowCheckpoints(box)
    const gate = Promise.withResolvers<void>()
    checkpoints.gate = gate.promise
    const a = await box.node('a', { tenure: { checkpoints }, drainMs: 500 })
    a.run()
    await box.put(a, 'user0')
    await until('the take-over is under way', () => checkpoints.reads === 1)
    await a.end()
    gate.resolve()
  })

  test('a user whose database cannot be opened is tried again and holds nobody back', async () => {
    await using box = await ownerBox()
    const a = await box.node('a')
    a.run()
    const folder = dirname(a.store.fileOf('user0'))
    await mkdir(dirname(folder), { recursive: true })
    await writeFile(folder, 'not a folder')
    for (const user of USERS) await box.put(a, user)
    await ownedBy(a, USERS.length - 1)
    await eachOnce(box, USERS.slice(1))
    await rm(folder)
    await ownedBy(a)
    await eachOnce(box, ['user0'])
  })

  test('users whose take-over fails keep nobody waiting while they rest, however many they are', async () => {
    await using box = await ownerBox()
    // Who rests after a failure does so until the end of the test.
    const clock: Clock = {
      ...systemClock,
      sleep: (ms, signal) => systemClock.sleep(ms === 1_000 ? 1_000_000 : ms, signal),
    }
    const checkpoints = await slowCheckpoints(box)
    const a = await box.node('a', { clock, tenure: { checkpoints } })
    a.run()
    const broken = Array.from({ length: 20 }, (_, i) => `broken${i}`)
    for (const user of broken) {
      const folder = dirname(a.store.fileOf(user))
      await mkdir(dirname(folder), { recursive: true })
      await writeFile(folder, 'not a folder')
      await box.put(a, user)
    }
    const isGivenBack = (user: string): boolean => a.leases.leases.get(user)?.record.owner === null
    await until('each has failed', () => broken.every(isGivenBack) && a.supervisor.tenures.size === 0)
    for (const user of USERS) await box.put(a, user)
    await ownedBy(a)
    await eachOnce(box)
  })
})

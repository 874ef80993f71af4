/** The bucket of leases goes backwards: everybody has an owner again, and new epochs stand above all earlier ones. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareEpochs, type Epoch } from '../../../services/mail/base/model.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { eventsOf } from '../../support/ledger.ts'
import { keepCopy } from '../../support/roll-back.ts'
import { until } from '../../support/until.ts'
import { type Node, type OwnerBox, ownerBox, TWENTY } from './support.ts'

const USERS = Array.from({ length: 6 }, (_, i) => `user${i}`)
const free = { v: 1, kind: 'lease', owner: null } as const
const allOwned = (...nodes: Node[]) =>
  until(
    `${nodes.map(({ name }) => name)} own all`,
    () => USERS.every((user) => nodes.some((node) => node.supervisor.owns(user))) && shared(nodes),
    { timeoutMs: 20_000 },
  )
const shared = (nodes: Node[]): boolean => nodes.every((node) => USERS.some((user) => node.supervisor.owns(user)))
const epochsOf = (node: Node): Map<string, Epoch> =>
  new Map([...node.supervisor.tenures.values()].map(({ userId, epoch }) => [userId, epoch]))

/** Revisions that are lost with the roll-back: more than are given out before everybody has looked. */
async function spend({ leases }: Node, upTo: number): Promise<void> {
  let revision = await until('NATS answers', () => leases.writeLease('nobody', free, null))
  while (revision < upTo) revision = await leases.writeLease('nobody', free, revision)
}

async function eachOnce(box: OwnerBox): Promise<void> {
  const ops = await box.connect('ops')
  for (const user of USERS) {
    await until(`all mail of ${user}`, async () => (await eventsOf(ops, user)).length >= TWENTY)
    const ids = (await eventsOf(ops, user)).map(({ event }) => event.provider_message_id)
    assert.equal(new Set(ids).size, TWENTY)
  }
}
/** Every database and every checkpoint of a user has the epoch of the owner, or one below it. */
async function assertHighest(nodes: Node[]): Promise<void> {
  for (const owner of nodes)
    for (const [user, epoch] of epochsOf(owner)) {
      const kept = nodes.flatMap(({ store }) => (store.inspect(user) === 'usable' ? store.read(user, readMeta) : []))
      for (const meta of kept) assert.ok(meta === null || compareEpochs(meta.epoch, epoch) <= 0, user)
      await until("the checkpoint is the owner's", async () => {
        // Who rests has claimed nothing yet: a question starts the user.
        await owner.supervisor.statuses(user)
        const found = await owner.checkpoints.read(user)
        return found !== null && compareEpochs(found.record.epoch, epoch) === 0
      })
    }
}

test('leases that went back under running instances: everybody has an owner again, in a new era', async () => {
  await using box = await ownerBox()
  const a = await box.node('a')
  a.run()
  for (const user of USERS) await box.put(a, user)
  await allOwned(a)
  await eachOnce(box)
  const goBack = await keepCopy(box.server)
  await spend(a, 200)
  const b = await box.node('b')
  b.run()
  await allOwned(a, b)
  // An owner that has not stored anything yet leaves nothing that a new era would have to stand above.
  await assertHighest([a, b])
  const { era } = a.leases
  const sids = [a, b].map(({ supervisor }) => supervisor.session.sid)
  await goBack()
  await until('both have new sessions', () =>
    [a, b].every(({ supervisor: { session } }) => session.valid && !sids.includes(session.sid)),
  )
  // Nobody knows of it before one of the users is started: whoever rests asks no database.
  const startAll = () => Promise.all([a, b].flatMap(({ supervisor }) => USERS.map((user) => supervisor.statuses(user))))
  const isNewEra = async (): Promise<boolean> => {
    await startAll()
    return a.leases.era > era && a.leases.era === b.leases.era
  }
  await until('a new era', isNewEra, { timeoutMs: 20_000 })
  await allOwned(a, b)
  await until('all epochs are of the new era', () =>
    [a, b].every((node) => [...epochsOf(node).values()].every((epoch) => epoch.era === a.leases.era)),
  )
  await assertHighest([a, b])
  await eachOnce(box)
})

test('an instance that starts after the bucket went backwards takes its users above what its databases hold', async () => {
  await using box = await ownerBox()
  const before = await box.node('a')
  for (const user of USERS) await box.put(before, user)
  const goBack = await keepCopy(box.server)
  await spend(before, 50)
  before.run()
  await allOwned(before)
  await eachOnce(box)
  const last = epochsOf(before)
  await before.end()
  await goBack()
  const a = await box.node('a')
  a.run()
  await allOwned(a)
  await until('all epochs are higher', () =>
    USERS.every((user) => {
      const [epoch, old] = [epochsOf(a).get(user), last.get(user)]
      return epoch !== undefined && old !== undefined && compareEpochs(epoch, old) > 0
    }),
  )
  await assertHighest([a])
  await eachOnce(box)
})

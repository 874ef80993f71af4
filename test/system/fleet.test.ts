/**
 * Accepted when: three instances share 300 users; one is killed, one is stopped, a fourth joins, and each time every user
 * has one owner that works for it. No figure of time is judged here: `make bench-fleet` prints those.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NatsConnection } from '#shared/nats.ts'
import { atSubject, BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import { Fleet } from '../bench/fleet/fleet.ts'
import { balanced, comeBack, moveAway, strike } from '../bench/fleet/story.ts'
import { lastSeqOfBucket } from '../mail/acceptance/support.ts'
import { until } from '../support/until.ts'

const USERS = 300
const SYNC_MS = 15_000
/** Three standard deviations of the share of 300 users that a fourth name wins by its hash, beside the 5 % that are granted. */
const CHANCE = 3 * Math.sqrt((0.25 * 0.75) / USERS)
const HEARTBEATS = 24

/** Names of the instances that say of themselves that they own the user. */
async function claimants(ops: NatsConnection, fleet: Fleet, user: string): Promise<string[]> {
  const names: string[] = []
  for (const { name, address, state } of fleet.watch.sessions.values()) {
    if (state === 'dead') continue
    const reply = await ops.request(atSubject(address, 'status'), encodeUser(user), { timeout: 5_000 })
    if (reply.json<{ accounts: unknown[] | null }>().accounts !== null) names.push(name)
  }
  return names
}

async function eachHasOneOwner(fleet: Fleet): Promise<void> {
  await balanced(fleet)
  for (const user of fleet.users) {
    // An instance that NATS has not heard for a moment, as in an election, owns nobody.
    const said = await until(`an instance says that it owns ${user}`, async () => {
      const names = await claimants(fleet.ops, fleet, user)
      return names.length > 0 ? names : null
    })
    assert.deepEqual(said, [fleet.watch.ownerOf(user)], `the owners of ${user}`)
  }
}

/** Writes to all buckets that are no heartbeat, while the instances beat a number of times. */
async function writesBesideHeartbeats(fleet: Fleet): Promise<number> {
  const written = async (): Promise<number> => {
    const [accounts, state] = [
      await lastSeqOfBucket(fleet.ops, BUCKET_ACCOUNTS),
      await lastSeqOfBucket(fleet.ops, BUCKET_STATE),
    ]
    return accounts + state + fleet.watch.leaseWrites
  }
  const beats = (): Promise<number> => lastSeqOfBucket(fleet.ops, BUCKET_LEASES)
  const during = async (): Promise<number> => {
    const [before, from] = [await written(), await beats()]
    await until('the instances have sent heartbeats', async () => (await beats()) >= from + HEARTBEATS, {
      timeoutMs: 60_000,
    })
    return (await written()) - before
  }
  // The last checkpoints of what was just connected may still be on their way.
  await until('the checkpoints are written', async () => (await during()) === 0, { timeoutMs: 120_000 })
  return await during()
}

test('three instances and 300 users: a kill, a stop and a join leave each user with one owner that works, and no mail lost or twice', async () => {
  await using fleet = await Fleet.start(['a', 'b', 'c'], { syncMs: SYNC_MS })
  await fleet.connectUpTo(USERS / 10)
  assert.equal(await writesBesideHeartbeats(fleet), 0, 'idle, with few users')
  await fleet.connectUpTo(USERS)
  await eachHasOneOwner(fleet)
  assert.equal(await writesBesideHeartbeats(fleet), 0, 'idle, with ten times as many')

  await moveAway(fleet, 'c', () => strike(fleet, 'c', 'SIGKILL'))
  await eachHasOneOwner(fleet)
  await comeBack(fleet, 'c')

  await moveAway(fleet, 'a', () => strike(fleet, 'a', 'SIGTERM'))
  assert.equal(await fleet.instance('a').exited, 0)
  await eachHasOneOwner(fleet)
  await comeBack(fleet, 'a')

  const before = new Map(fleet.users.map((user) => [user, fleet.watch.ownerOf(user)]))
  await comeBack(fleet, 'd')
  await eachHasOneOwner(fleet)
  const moved = fleet.users.filter((user) => fleet.watch.ownerOf(user) !== before.get(user))
  assert.ok(
    moved.every((user) => fleet.watch.ownerOf(user) === 'd'),
    'users move to the one that has joined only',
  )
  assert.ok(moved.length / USERS <= 0.25 + 0.05 + CHANCE, `${moved.length} of ${USERS} users have moved`)

  assert.equal(await fleet.deliverToAll(SYNC_MS + 120_000), 0, 'users whose new mail does not arrive')
  const { lost, twice, wrong } = await fleet.box.ledger(fleet.ops)
  assert.deepEqual({ lost, twice, wrong }, { lost: [], twice: [], wrong: [] })
})

/** kill -9 of an owner and its data directory deleted, in the middle of a backfill: what must hold after any number of times. */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { NatsConnection } from '#shared/nats.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { dice, eventsStored, leaseOwner, SEED, settled, storedRows, untilStatus } from './support.ts'

const USERS = { ada: 'google', grace: 'microsoft' } as const
type User = keyof typeof USERS
const users = Object.keys(USERS) as User[]

/**
 * Two instances; `losses` times one that owns a user is killed with its disk and comes back with an empty one. Each mail
 * is on the stream once, and in the end the database of each user holds all of them.
 */
export async function loseDisks(losses: number, n: number): Promise<void> {
  const env = { MAIL_LEASE_SILENCE_MS: '1500', MAIL_DEDUPE_WINDOW_MS: '1000' }
  await using box = await sandbox({ simulator: { pageSizeGraph: 10, seed: SEED }, env })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const instances = new Map([
    ['a', await box.spawn('a')],
    ['b', await box.spawn('b')],
  ])
  for (const user of users) await box.connect(nc, user, USERS[user], { n })
  const throwOf = dice(SEED)
  for (let loss = 0; loss < losses; loss++) {
    const user = users[loss % users.length] ?? 'ada'
    const name = await until(`${user} has an owner`, () => leaseOwner(ops, user))
    await untilMore(ops, throwOf(0, Math.floor(n / losses)))
    await loseDisk(box, instances, name)
    deliverToAll(box)
  }
  const about = `${losses} disks lost`
  await settled(box, nc, users, about)
  for (const user of users) await assertRefilled(box, nc, ops, user)
  await settled(box, nc, users, `${about}, and everything fetched again`)
}

/** Some events later, or none when there are no more to come. */
async function untilMore(ops: NatsConnection, more: number): Promise<void> {
  const start = await eventsStored(ops)
  const patience = until(`${more} more events`, async () => (await eventsStored(ops)) >= start + more, {
    everyMs: 5,
    timeoutMs: 1_500,
  })
  await patience.catch(() => undefined)
}

async function loseDisk(box: Sandbox, instances: Map<string, InstanceProcess>, name: string): Promise<void> {
  await instances.get(name)?.kill('SIGKILL')
  await rm(join(box.dir, name), { recursive: true })
  instances.set(name, await box.spawn(name))
}

export function deliverToAll(box: Sandbox): void {
  for (const user of users) box.sim.mutate({ type: 'deliver', user: box.simUser(user), provider: USERS[user] })
}

/** The owner's database has every mail, though most were published from other disks. */
export async function assertRefilled(box: Sandbox, nc: NatsConnection, ops: NatsConnection, user: User): Promise<void> {
  const { instance } = await untilStatus(box, nc, user, USERS[user], 'rows are there again', (s) => !s.refill, 60_000)
  assert.ok(instance !== null)
  const { must } = box.sim.truth(box.simUser(user), USERS[user])
  assert.equal(storedRows(box, instance, user) >= must.length, true, `${user} at ${instance}`)
  assert.equal(await leaseOwner(ops, user), instance)
}

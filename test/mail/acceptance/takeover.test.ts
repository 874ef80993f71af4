/** Accepted when: killed, stopped, wiped or restarted, an instance's users go on elsewhere, each mail once. */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import type { NatsConnection } from '#shared/nats.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { SEED, settled } from './support.ts'

const SILENCE_MS = 2_000
/** Longer than any wait for an owner here. A test that must not wait for the silence makes that longer still. */
const OWNED_DEADLINE_MS = 20_000
const NEVER_SILENT = { MAIL_LEASE_SILENCE_MS: '60000' }
const USERS = ['ada', 'grace', 'joan', 'mary'] as const

/** Two mailboxes of a kind, four users: with two instances each owns some. */
async function connectAll(box: Sandbox, nc: NatsConnection, n: number): Promise<void> {
  for (const [i, user] of USERS.entries()) await box.connect(nc, user, i % 2 === 0 ? 'google' : 'microsoft', { n })
}
async function deliverToAll(box: Sandbox): Promise<void> {
  for (const [i, user] of USERS.entries())
    box.sim.mutate({ type: 'deliver', user: box.simUser(user), provider: i % 2 === 0 ? 'google' : 'microsoft' })
}

/** Names of the instances that answer for the users as their live owners. */
async function ownersOf(box: Sandbox, nc: NatsConnection): Promise<Map<string, string>> {
  const owners = new Map<string, string>()
  for (const user of USERS)
    for (const { instance, live } of (await box.status(nc, user)).accounts)
      if (live && instance !== null) owners.set(user, instance)
  return owners
}
const ownedOnlyBy = (name: string) => (owners: Map<string, string>) =>
  owners.size === USERS.length && [...owners.values()].every((owner) => owner === name)

async function untilOwned(
  box: Sandbox,
  nc: NatsConnection,
  what: string,
  fits: (owners: Map<string, string>) => boolean,
): Promise<void> {
  await until(what, async () => fits(await ownersOf(box, nc)), { timeoutMs: OWNED_DEADLINE_MS, everyMs: 50 })
}
const bothOwn = (owners: Map<string, string>): boolean =>
  owners.size === USERS.length && new Set(owners.values()).size === 2

/** Two instances that share the users, in the middle of the backfill. */
async function twoAtWork(n: number, env: Record<string, string> = {}) {
  const box = await sandbox({
    simulator: { pageSizeGraph: 20, seed: SEED },
    env: { MAIL_LEASE_SILENCE_MS: String(SILENCE_MS), MAIL_DEDUPE_WINDOW_MS: '1000', ...env },
  })
  try {
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    const [a, b] = [await box.spawn('a'), await box.spawn('b')]
    await connectAll(box, nc, n)
    await untilOwned(box, nc, 'both own users', bothOwn)
    return { box, nc, ops, a, b, [Symbol.asyncDispose]: () => box[Symbol.asyncDispose]() }
  } catch (error) {
    await box[Symbol.asyncDispose]()
    throw error
  }
}

test('users of an instance killed with -9 are taken over after the silence', async (t) => {
  await using at = await twoAtWork(200)
  const { box, nc, a } = at
  await a.kill('SIGKILL')
  const killedMs = performance.now()
  await untilOwned(box, nc, 'b owns all', ownedOnlyBy('b'))
  t.diagnostic(`owned ${Math.round(performance.now() - killedMs)} ms after kill -9, silence ${SILENCE_MS} ms`)
  await settled(box, nc, USERS, 'after kill -9')
  await deliverToAll(box)
  await settled(box, nc, USERS, 'new mail after kill -9')
})

test('users of an instance ended with SIGTERM are handed over without waiting for the silence, and it exits 0', async (t) => {
  await using at = await twoAtWork(200, NEVER_SILENT)
  const { box, nc, a } = at
  const ended = a.kill('SIGTERM')
  const endedMs = performance.now()
  await untilOwned(box, nc, 'b owns all', ownedOnlyBy('b'))
  t.diagnostic(`handed over ${Math.round(performance.now() - endedMs)} ms after SIGTERM`)
  assert.equal(await ended, 0)
  await settled(box, nc, USERS, 'after SIGTERM')
})

test('a killed instance whose data directory is gone is replaced by fetching again, and by itself when it comes back', async () => {
  await using at = await twoAtWork(60)
  const { box, nc, a, b } = at
  await settled(box, nc, USERS, 'before')
  await a.kill('SIGKILL')
  await rm(join(box.dir, 'a'), { recursive: true })
  await untilOwned(box, nc, 'b owns all', ownedOnlyBy('b'))
  await deliverToAll(box)
  await settled(box, nc, USERS, 'at the other instance')
  await box.spawn('a')
  await untilOwned(box, nc, 'both own users again', bothOwn)
  await deliverToAll(box)
  await settled(box, nc, USERS, 'at the instance that came back empty')
  await b.kill('SIGKILL')
  await untilOwned(box, nc, 'a owns all', ownedOnlyBy('a'))
  await deliverToAll(box)
  await settled(box, nc, USERS, 'at the instance that came back, alone')
})

test('an instance restarted on its data directory takes its users back without waiting for the silence', async () => {
  await using box = await sandbox({ env: NEVER_SILENT, simulator: { seed: SEED } })
  const nc = await box.connection('service')
  const a = await box.spawn('a')
  await connectAll(box, nc, 60)
  await untilOwned(box, nc, 'a owns all', ownedOnlyBy('a'))
  await a.kill('SIGKILL')
  await box.spawn('a')
  await untilOwned(box, nc, 'a owns all again', ownedOnlyBy('a'))
  await settled(box, nc, USERS, 'after the restart')
})

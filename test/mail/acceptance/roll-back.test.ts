/** Accepted when: JetStream that went back some minutes under running instances costs nobody an owner or an account. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventsOf } from '../../support/ledger.ts'
import { keepCopy } from '../../support/roll-back.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { SEED } from './support.ts'

const EARLY = ['u0', 'u1', 'u2', 'u3']
const LATE = 'grace'
const USERS = [...EARLY, LATE]

test('after JetStream went backwards every account is there, has an owner and gets its new mail once', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  await box.start('a')
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  for (const user of EARLY) await box.connect(nc, user, 'google', { n: 3 })
  await box.allLive(nc, EARLY)
  const goBack = await keepCopy(box.nats)
  await box.start('b')
  const ownersOf = async (): Promise<(string | undefined)[]> =>
    Promise.all(USERS.map(async (user) => (await box.status(nc, user)).accounts[0]?.instance ?? undefined))
  await until('b has a share', async () => (await ownersOf()).includes('b'))
  await box.connect(nc, LATE, 'microsoft', { n: 3 })
  await box.allLive(nc, USERS)

  await goBack()
  await until(
    'everybody has an owner again',
    async () => {
      const statuses = await Promise.all(USERS.map((user) => box.status(nc, user)))
      return statuses.every(({ accounts }) => accounts[0]?.state === 'live' && accounts[0].live)
    },
    { timeoutMs: 30_000, everyMs: 200 },
  )
  for (const user of USERS) {
    const provider = user === LATE ? 'microsoft' : 'google'
    const id = box.sim.mutate({ type: 'deliver', user: box.simUser(user), provider })
    const ids = await until(`${user}'s new mail`, async () => {
      const all = (await eventsOf(ops, user)).map(({ event }) => event.provider_message_id)
      return all.includes(id) && all
    })
    assert.equal(new Set(ids).size, ids.length, `${user}: nothing twice`)
  }
})

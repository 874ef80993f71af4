/** Accepted when: a provider that accepts requests and never answers is noticed, told, and healed by itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settled, untilStatus } from '../mail/acceptance/support.ts'
import { sandbox } from '../support/sandbox.ts'

/** Deadline of a provider call, and some time to see what came of it. */
const NOTICED_MS = 30_000 + 10_000

for (const provider of ['google', 'microsoft'] as const)
  test(`${provider} that never answers: retrying with PROVIDER_DOWN, healed by itself, each mail once`, async () => {
    await using box = await sandbox({ simulator: { pageSizeGraph: 10 } })
    const nc = await box.connection('service')
    await box.start('a')
    await box.connect(nc, 'ada', provider, { n: 60 })
    await box.allLive(nc, ['ada'])
    box.sim.faults.add({ match: { provider }, fault: { type: 'hang' } })
    box.sim.mutate({ type: 'deliver', user: box.simUser('ada'), provider })
    const { state } = await untilStatus(
      box,
      nc,
      'ada',
      provider,
      'PROVIDER_DOWN',
      ({ last_error }) => last_error?.code === 'PROVIDER_DOWN',
      NOTICED_MS,
    )
    assert.equal(state, 'retrying')
    box.sim.faults.clear()
    await settled(box, nc, ['ada'], `${provider} never answered`)
  })

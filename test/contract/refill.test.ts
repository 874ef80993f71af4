/** The lanes that fetch rows once more after a lost disk: all of them, beside the polls, until they are gone. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Http } from '../../services/mail/base/http.ts'
import { isRefill } from '../../services/mail/base/model.ts'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import type { Simulator } from '../simulator/simulator.ts'
import { assertTruth, bench, USER } from './bench.ts'

const SUBJECTS = [
  {
    provider: 'google' as const,
    make: (sim: Simulator, http: Http) => createGmail({ baseUrl: sim.env.MAIL_GMAIL_BASE_URL, getUnits: 20, http }),
  },
  {
    provider: 'microsoft' as const,
    make: (sim: Simulator, http: Http) => createOutlook({ baseUrl: sim.env.MAIL_GRAPH_BASE_URL, http }),
  },
]

for (const subject of SUBJECTS) {
  const { provider } = subject
  const world = { user: USER, provider }
  describe(`refill of ${provider}`, () => {
    it('brings every mail once more and is gone', async () => {
      await using box = await bench(subject, 620, { pageSizeGraph: 40 })
      await box.driver.run()
      const lost = box.driver.loseRows()
      await box.driver.run()
      assert.deepEqual(box.driver.state().stored.toSorted(), lost.toSorted())
      assert.deepEqual(Object.keys(box.driver.state().lanes).filter(isRefill), [])
      assert.deepEqual(box.driver.state().queue, [], 'what waits would make the mailbox look as if it were not live')
    })

    it('leaves the position of the polls alone: new mail comes meanwhile, and nothing starts over', async () => {
      await using box = await bench(subject, 400, { pageSizeGraph: 40 })
      await box.driver.run()
      box.driver.loseRows()
      let turn = 0
      await box.driver.run(async (lane) => {
        if (!isRefill(lane) || turn++ > 20) return
        box.sim.mutate({ type: 'deliver', ...world })
        const { must } = box.sim.truth(USER, provider)
        const victim = must[(turn * 37) % must.length]
        if (victim !== undefined && turn % 2 === 0) box.sim.mutate({ type: 'delete', id: victim, ...world })
        box.driver.interval()
        const { polled } = subject.make(box.sim, box.http)
        for (const name of Object.keys(box.driver.state().lanes)) if (polled(name)) await box.driver.step(name)
      })
      await box.driver.poll()
      assertTruth(box.sim, box.driver, provider)
      assert.equal(box.driver.seen.gone, 0)
    })

    it('a position that cannot be read starts again', async () => {
      await using box = await bench(subject, 60)
      await box.driver.run()
      const lost = box.driver.loseRows()
      for (const [lane, state] of Object.entries(box.driver.state().lanes)) if (isRefill(lane)) state.cursor = '{"x":1}'
      await box.driver.run()
      assert.deepEqual(box.driver.state().stored.toSorted(), lost.toSorted())
      assert.ok(box.driver.seen.gone > 0)
    })
  })
}

describe('refill of microsoft', () => {
  it('brings what a list does not show whole, one by one', async () => {
    const [, subject] = SUBJECTS
    if (subject === undefined) throw new Error('two providers are tested')
    await using box = await bench(subject, 60, { pageSizeGraph: 40 })
    await box.driver.run()
    const lost = box.driver.loseRows()
    box.sim.faults.add({ match: { route: 'graph.messages.list' }, fault: { type: 'dropField', field: 'toRecipients' } })
    await box.driver.run()
    assert.deepEqual(box.driver.state().stored.toSorted(), lost.toSorted())
    assert.deepEqual(Object.keys(box.driver.state().lanes).filter(isRefill), [])
  })
})

/** The lanes of an audit: they list every id of the mailbox, fetch what has no row, and nothing else. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Http } from '../../services/mail/base/http.ts'
import { isAudit } from '../../services/mail/base/model.ts'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import type { Simulator } from '../simulator/simulator.ts'
import { type Bench, bench, USER } from './bench.ts'

const GMAIL = {
  provider: 'google' as const,
  make: (sim: Simulator, http: Http) => createGmail({ baseUrl: sim.env.MAIL_GMAIL_BASE_URL, getUnits: 20, http }),
  list: 'gmail.messages.list',
  get: 'gmail.messages.get',
}
const OUTLOOK = {
  provider: 'microsoft' as const,
  make: (sim: Simulator, http: Http) => createOutlook({ baseUrl: sim.env.MAIL_GRAPH_BASE_URL, http }),
  list: 'graph.messages.list',
  get: 'graph.messages.get',
}

const audits = (box: Bench): string[] => Object.keys(box.driver.state().lanes).filter(isAudit)
/** Requests of a route since the last look at the log. */
const asked = (box: Bench, route: string, since = 0): number =>
  box.sim
    .log()
    .slice(since)
    .filter((entry) => entry.route === route).length

for (const subject of [GMAIL, OUTLOOK]) {
  const world = { user: USER, provider: subject.provider }
  describe(`audit of ${subject.provider}`, () => {
    it('is shown every mail that is stored, fetches none of them, and is gone after one walk', async () => {
      await using box = await bench(subject, 620)
      await box.driver.run()
      const before = box.sim.log().length
      box.driver.audit()
      await box.driver.run()
      const { listed, passes } = box.driver.seen
      assert.deepEqual(
        box.driver.state().stored.filter((id) => !listed.has(id)),
        [],
      )
      assert.deepEqual([passes, audits(box), asked(box, subject.get, before)], [1, [], 0])
    })

    it('fetches what has no row, a take after the other, and walks once more to be sure', async () => {
      await using box = await bench(subject, 620)
      await box.driver.run()
      const { stored } = box.driver.state()
      const lost = stored.filter((_, at) => at % 9 === 0)
      box.driver.have(stored.filter((id) => !lost.includes(id)))
      const before = box.sim.log().length
      box.driver.audit()
      await box.driver.run()
      assert.deepEqual(box.driver.emitted.map(({ id }) => id).toSorted(), lost.toSorted())
      assert.deepEqual([box.driver.seen.passes, audits(box), box.driver.state().queue], [2, [], []])
      assert.equal(asked(box, subject.get, before), lost.length)
    })

    it('leaves the position of the polls alone: what is delivered and deleted meanwhile is no riddle', async () => {
      await using box = await bench(subject, 400)
      await box.driver.run()
      const { stored } = box.driver.state()
      box.driver.have(stored.slice(100))
      box.driver.audit()
      let turn = 0
      await box.driver.run((lane) => {
        if (!isAudit(lane) || turn++ > 10) return
        box.sim.mutate({ type: 'deliver', ...world })
        box.sim.mutate({ type: 'delete', id: stored[turn * 7] ?? '', ...world })
      })
      await box.driver.poll()
      await box.driver.poll()
      const have = new Set(box.driver.state().stored)
      assert.deepEqual(
        box.sim.truth(USER, subject.provider).must.filter((id) => !have.has(id)),
        [],
      )
      assert.equal(box.driver.seen.gone, 0)
    })

    it('a position that cannot be read starts again', async () => {
      await using box = await bench(subject, 60)
      await box.driver.run()
      box.driver.audit()
      for (const lane of audits(box)) box.driver.state().lanes[lane] = { cursor: '{"x":1}', done: false }
      await box.driver.run()
      assert.ok(box.driver.seen.gone > 0)
      assert.deepEqual(audits(box), [])
    })
  })
}

describe('cost of an audit', () => {
  it('of 10,000 mails at Gmail: 20 lists of 500 ids, 100 units, and no mail', async () => {
    await using box = await bench(GMAIL, 10_000, { mix: { draft: 0, spam: 0, trash: 0, chat: 0 } })
    await box.driver.step('history')
    box.driver.have(box.sim.truth(USER, 'google').must)
    const before = box.sim.log().length
    box.driver.audit()
    while (audits(box).length > 0) await box.driver.step('audit')
    const log = box.sim.log().slice(before)
    assert.deepEqual(
      log.map(({ route, cost }) => `${route} ${cost}`),
      Array(20).fill('gmail.messages.list 5'),
    )
    assert.deepEqual([box.driver.seen.passes, box.driver.seen.listed.size], [1, 10_000])
  })

  it('with drafts at Gmail: two lists more for a page that shows some, and still no mail', async () => {
    await using box = await bench(GMAIL, 900)
    await box.driver.run()
    const before = box.sim.log().length
    box.driver.audit()
    await box.driver.run()
    const log = box.sim.log().slice(before)
    assert.deepEqual([log.length, new Set(log.map(({ route }) => route))], [6, new Set(['gmail.messages.list'])])
  })

  it('of 10,000 mails at Graph: one request per 1,000 ids of a folder, with nothing but ids', async () => {
    await using box = await bench(OUTLOOK, 10_000)
    while (Object.keys(box.driver.state().lanes).length < 2) await box.driver.step('folders')
    box.driver.have(box.sim.truth(USER, 'microsoft').must)
    const folders = Object.keys(box.driver.state().lanes).filter((lane) => lane.startsWith('folder:'))
    const before = box.sim.log().length
    box.driver.audit()
    for (let [lane] = audits(box); lane !== undefined; [lane] = audits(box)) await box.driver.step(lane)
    const routes = box.sim
      .log()
      .slice(before)
      .map(({ route }) => route)
    assert.deepEqual([...new Set(routes)], ['graph.messages.list'])
    assert.ok(routes.length <= 10 + folders.length, `${routes.length} requests for ${folders.length} folders`)
  })
})

describe('a walk that ends without an end', () => {
  it('says that it proves nothing: each of its five walks has found something', async () => {
    await using box = await bench(GMAIL, 620)
    await box.driver.step('history')
    while (!box.driver.state().lanes.enum?.done) {
      assert.equal(box.driver.seen.unproven, 0)
      await box.driver.step('enum')
      // What was listed is not fetched, and nobody knows of it.
      box.driver.state().queue.length = 0
    }
    assert.equal(box.driver.seen.unproven, 1)
  })

  it('but not when the last walk finds nothing', async () => {
    await using box = await bench(GMAIL, 620)
    await box.driver.run()
    assert.equal(box.driver.seen.unproven, 0)
  })
})

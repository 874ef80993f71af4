/**
 * What every provider adapter promises, stated once and run for each on the simulator, whose truth is the judge.
 * It knows no adapter from the inside: only pages, errors and what ends up stored.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { until } from '../support/until.ts'
import { assertTruth, bench, rejection, type Subject, USER } from './bench.ts'
import { faultSuite } from './fault-suite.ts'

export function providerSuite(subject: Subject): void {
  const { provider } = subject
  const world = { user: USER, provider }

  for (const paging of ['keyset', 'offset'] as const) {
    it(`backfills exactly the mail that is an event, once each (page tokens: ${paging})`, async () => {
      await using box = await bench(subject, 620, { paging, pageSizeGraph: 40 })
      await box.driver.run()
      assertTruth(box.sim, box.driver, provider)
      assert.equal(box.driver.emitted.length, box.sim.truth(USER, provider).must.length)
      assert.ok((box.driver.state().totalEstimate ?? 0) >= box.driver.emitted.length)
    })

    it(`loses nothing that stays while mail comes, moves and goes between the pages (page tokens: ${paging})`, async () => {
      await using box = await bench(subject, 620, { paging, pageSizeGraph: 40 })
      let turn = 0
      await box.driver.run(() => {
        turn++
        if (turn > 30) return
        box.sim.mutate({ type: 'deliver', ...world })
        const { must } = box.sim.truth(USER, provider)
        const victim = must[(turn * 37) % must.length]
        if (victim !== undefined) box.sim.mutate({ type: turn % 3 === 0 ? 'trash' : 'delete', id: victim, ...world })
      })
      await box.driver.poll()
      assertTruth(box.sim, box.driver, provider)
    })
  }

  it('asks for the same page again when its answer was lost, and ends with the same mail', async () => {
    await using box = await bench(subject, 130, { pageSizeGraph: 20 })
    await box.driver.run(async (lane) => {
      await box.driver.ask(lane)
    })
    assertTruth(box.sim, box.driver, provider)
  })

  it('sees new mail at the next poll and moves the incremental cursor', async () => {
    await using box = await bench(subject, 30)
    await box.driver.run()
    const before = box.driver.emitted.length
    const cursor = box.driver.state().syncCursor
    const id = box.sim.mutate({ type: 'deliver', ...world, subject: 'Größe?', preview: 'a < b' })
    await box.driver.poll()
    assert.deepEqual(
      box.driver.emitted.slice(before).map((meta) => [meta.id, meta.subject, meta.snippet]),
      [[id, 'Größe?', 'a < b']],
    )
    assert.notEqual(box.driver.state().syncCursor, null)
    if (provider === 'google') assert.notEqual(box.driver.state().syncCursor, cursor)
    await box.driver.poll()
    assertTruth(box.sim, box.driver, provider)
  })

  it('does not take a moved, relabelled, read or deleted mail for a new one', async () => {
    await using box = await bench(subject, 40)
    await box.driver.run()
    const before = box.driver.emitted.length
    const [moved = '', labelled = '', deleted = '', read = ''] = box.sim.truth(USER, provider).must
    if (provider === 'microsoft') {
      box.sim.mutate({ type: 'move', id: moved, to: 'archive', ...world })
      box.sim.mutate({ type: 'markRead', id: read, ...world })
    } else box.sim.mutate({ type: 'label', id: moved, remove: ['INBOX', 'UNREAD'], ...world })
    box.sim.mutate({ type: 'label', id: labelled, add: ['STARRED'], ...world })
    box.sim.mutate({ type: 'delete', id: deleted, ...world })
    await box.driver.poll()
    await box.driver.poll()
    assert.equal(box.driver.emitted.length, before)
    assertTruth(box.sim, box.driver, provider)
  })

  it('emits mail that lay in spam once it comes out, and a draft once it is sent', async () => {
    await using box = await bench(subject, 20)
    await box.driver.run()
    const before = box.driver.emitted.length
    const spam = box.sim.mutate({ type: 'deliver', ...subject.hidden, ...world })
    const draft = box.sim.mutate({ type: 'draftSave', ...world })
    await box.driver.poll()
    assert.equal(box.driver.emitted.length, before)
    box.sim.mutate({ type: 'unspam', id: spam, ...world })
    const sent = box.sim.mutate({ type: 'send', id: draft, ...world })
    await box.driver.poll()
    assert.deepEqual(new Set(box.driver.emitted.slice(before).map(({ id }) => id)), new Set([spam, sent]))
    assertTruth(box.sim, box.driver, provider)
  })

  for (const fault of subject.expire) {
    const name = 'code' in fault ? fault.code : fault.type
    it(`rescans after the provider forgot the position and emits only what is new (${name})`, async () => {
      await using box = await bench(subject, 60)
      await box.driver.run()
      const before = box.driver.emitted.length
      box.sim.faults.add({ match: { nth: 1 }, fault })
      const ids = [1, 2].map(() => box.sim.mutate({ type: 'deliver', ...world }))
      await box.driver.poll()
      assert.ok(box.driver.seen.gone > 0)
      assert.deepEqual(new Set(box.driver.emitted.slice(before).map(({ id }) => id)), new Set(ids))
      assertTruth(box.sim, box.driver, provider)
    })
  }

  it('refuses a cursor that nobody can have written, as forgotten', async () => {
    await using box = await bench(subject, 5)
    const { firstLane } = subject.make(box.sim, box.http)
    for (const cursor of ['', '{', '[]', '{"link":7}', 'null']) {
      box.driver.state().lanes[firstLane] = { cursor, done: false }
      await assert.rejects(box.driver.ask(firstLane), { name: 'ProviderError', kind: 'gone' })
    }
  })

  for (const fault of [
    { type: 'dupItems' },
    { type: 'shuffle' },
    { type: 'historyLess' },
    { type: 'messagesOnly' },
  ] as const) {
    it(`is not confused by answers that are odd but legal (${fault.type})`, async () => {
      await using box = await bench(subject, 90, { pageSizeGraph: 20 })
      box.sim.faults.add({ match: { every: 2 }, fault })
      await box.driver.run()
      box.sim.mutate({ type: 'deliver', ...world })
      await box.driver.poll()
      await box.driver.poll()
      assertTruth(box.sim, box.driver, provider)
    })
  }

  it('aborts with the reason of the signal', async () => {
    await using box = await bench(subject, 5)
    box.sim.faults.add({ fault: { type: 'hang' } })
    const stop = new AbortController()
    const provider_ = subject.make(box.sim, box.http)
    const asked = provider_.identify({ ...box.driver.call(), signal: stop.signal })
    await until('the request is under way', () => box.sim.log().length > 0)
    const reason = new Error('disconnected')
    stop.abort(reason)
    assert.equal(await rejection(asked), reason)
  })

  describe('faults', () => faultSuite(subject))
}

/** What every adapter makes of each fault of the wire and of single messages; part of provider-suite.ts. */
import assert from 'node:assert/strict'
import { after, before, it } from 'node:test'
import { ProviderError, type ProviderErrorKind } from '../../services/mail/provider/provider.ts'
import type { Fault } from '../simulator/types.ts'
import { assertTruth, type Bench, bench, rejection, type Subject, USER } from './bench.ts'
import type { Driver } from './page-driver.ts'

const TRANSPORT: readonly (readonly [Fault, ProviderErrorKind])[] = [
  [{ type: '429', retryAfter: 7 }, 'throttled'],
  [{ type: '403scope' }, 'rejected'],
  [{ type: '500' }, 'transient'],
  [{ type: '503' }, 'transient'],
  [{ type: '503', retryAfter: 7 }, 'throttled'],
  [{ type: '502html' }, 'transient'],
  [{ type: 'htmlOk' }, 'transient'],
  [{ type: 'emptyBody' }, 'transient'],
  [{ type: 'wrongType' }, 'transient'],
  [{ type: 'truncate', mode: 'content-length' }, 'transient'],
  [{ type: 'truncate', mode: 'chunked' }, 'transient'],
  [{ type: 'truncate', mode: 'clean' }, 'transient'],
  [{ type: 'reset', when: 'before' }, 'transient'],
  [{ type: 'reset', when: 'midBody' }, 'transient'],
  [{ type: 'hang' }, 'transient'],
  [{ type: 'slow', bytesPerSec: 20 }, 'transient'],
]

/** The state as it was must be the state as it is. */
async function failsWithout(driver: Driver, lane: string, kind: ProviderErrorKind): Promise<ProviderError> {
  const was = structuredClone(driver.state())
  const error = await rejection(driver.step(lane))
  assert.ok(error instanceof ProviderError, String(error))
  assert.equal(error.kind, kind, error.message)
  assert.deepEqual(driver.state(), was)
  return error
}

export function faultSuite(subject: Subject): void {
  const { provider } = subject
  let box: Bench
  before(async () => {
    box = await bench(subject, 60, { deadlineMs: 400, pageSizeGraph: 20 })
  })
  after(() => box[Symbol.asyncDispose]())

  const laneOf = async (route: string): Promise<string> => {
    // Walks on until the lane at hand is the one that asks on this route.
    for (let pages = 0; pages < 50; pages++) {
      if (box.driver.nextLane() === undefined) box.driver.interval()
      const lane = box.driver.nextLane() ?? assert.fail(`no lane asks ${route}`)
      const from = box.sim.log().length
      await box.driver.ask(lane)
      if (box.sim.log()[from]?.route === route) return lane
      await box.driver.step(lane)
    }
    return assert.fail(`no lane asks ${route}`)
  }

  for (const route of subject.listRoutes) {
    it(`names each fault of ${route} rightly and moves nothing`, async () => {
      const lane = await laneOf(route)
      for (const [fault, kind] of [...TRANSPORT, ...subject.faults]) {
        box.sim.faults.add({ match: { route, nth: 1 }, fault })
        const error = await failsWithout(box.driver, lane, kind)
        box.sim.faults.clear()
        if (kind === 'throttled') {
          assert.equal(error.facts.scope, 'mailbox')
          const waitMs = error.facts.retryAfterMs ?? 0
          assert.ok(waitMs >= 5_900 && waitMs <= 8_000, `${fault.type}: ${waitMs}`)
        }
        assert.doesNotMatch(`${error.message} ${JSON.stringify(error.facts)}`, /Bearer|token=|\?/)
      }
    })
  }

  it('says that the access token was refused', async () => {
    box.sim.faults.add({ match: { nth: 1 }, fault: { type: '401untilRefresh' } })
    if (box.driver.nextLane() === undefined) box.driver.interval()
    const lane = box.driver.nextLane() ?? assert.fail('nothing left to ask')
    await failsWithout(box.driver, lane, 'auth')
  })

  it('measures an announced wait against the clock of the provider, not ours', async () => {
    await using skewed = await bench(subject, 5, { now: () => Date.UTC(2001, 0, 1) })
    for (const fault of [...TRANSPORT, ...subject.faults].map(([one]) => one)) {
      if (!('retryAfter' in fault)) continue
      skewed.sim.faults.add({ match: { nth: 1 }, fault })
      const error = await failsWithout(skewed.driver, skewed.driver.nextLane() ?? '', 'throttled')
      skewed.sim.faults.clear()
      assert.equal(error.facts.retryAfterMs, 7_000)
    }
  })

  it('sets bad messages aside and brings all others; the bad ones come later', async () => {
    await using spoiled = await bench(subject, 60)
    for (const fault of subject.forceGets) spoiled.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault })
    const bad: Fault[] = [
      { type: '400precondition' },
      { type: 'wrongType' },
      { type: '500' },
      { type: '502html' },
      { type: 'emptyBody' },
      { type: 'reset', when: 'midBody' },
      { type: '403scope' },
    ]
    for (const [at, fault] of bad.entries()) {
      spoiled.sim.faults.add({ match: { route: subject.getRoute, nth: 3 + at }, fault })
    }
    await spoiled.driver.run()
    const aside = spoiled.driver.state().aside
    const unavailable = ['unavailable', 'unavailable', 'unavailable', 'unavailable']
    assert.deepEqual(Object.values(aside).sort(), ['refused', 'refused', ...unavailable, 'unreadable'])
    const { must } = spoiled.sim.truth(USER, provider)
    assert.ok(spoiled.driver.emitted.length >= must.length - bad.length)
    await spoiled.driver.poll()
    assertTruth(spoiled.sim, spoiled.driver, provider)
  })

  it('reports mail that vanished between list and get as missing and goes on', async () => {
    await using thinned = await bench(subject, 60)
    for (const fault of subject.forceGets) thinned.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault })
    await thinned.driver.run((lane) => {
      if (lane !== 'drain' || thinned.driver.seen.pages > 20) return
      const next = thinned.driver.state().queue[2]
      const { must } = thinned.sim.truth(USER, provider)
      if (next !== undefined && must.includes(next)) {
        thinned.sim.mutate({ type: 'delete', id: next, user: USER, provider })
      }
    })
    const reasons = Object.values(thinned.driver.state().aside)
    assert.ok(reasons.length > 0 && reasons.every((reason) => reason === 'missing'))
    assertTruth(thinned.sim, thinned.driver, provider)
  })

  it('keeps what came before it was throttled, and the announced wait with it', async () => {
    await using busy = await bench(subject, 60)
    for (const fault of subject.forceGets) busy.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault })
    busy.sim.faults.add({ match: { route: subject.getRoute, nth: 8 }, fault: { type: '429', retryAfter: 9 } })
    await busy.driver.run((lane) => {
      if (lane === 'drain' && busy.driver.seen.throttled > 0) busy.sim.faults.clear()
    })
    assert.equal(busy.driver.seen.throttled, 1)
    assertTruth(busy.sim, busy.driver, provider)
  })

  it('throws when a take brought nothing but a refusal of the grant', async () => {
    await using refused = await bench(subject, 60)
    for (const fault of subject.forceGets) refused.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault })
    refused.sim.faults.add({ match: { route: subject.getRoute, nth: 5 }, fault: { type: '401untilRefresh' } })
    const error = await rejection(refused.driver.run())
    assert.ok(error instanceof ProviderError)
    assert.equal(error.kind, 'auth')
  })

  it('ends with exactly the right mail when one answer in ten is spoilt in some way', async () => {
    const FIELDS = [
      'id',
      'messages',
      'nextPageToken',
      'message',
      'value',
      '@odata.nextLink',
      'payload',
      'isDraft',
      'parentFolderId',
    ]
    const spoilt: Fault[] = [
      ...TRANSPORT.map(([fault]) => fault).filter(({ type }) => !['403scope', 'hang', 'slow'].includes(type)),
      ...FIELDS.map((field): Fault => ({ type: 'dropField', field })),
      ...(['dupItems', 'shuffle', 'partialItems', 'messagesOnly', 'badPageToken'] as const).map(
        (type): Fault => ({ type }),
      ),
      ...subject.expire,
    ]
    await using rough = await bench(subject, 620, { paging: 'offset', pageSizeGraph: 30 })
    for (const fault of spoilt) rough.sim.faults.add({ match: { p: 0.1 / spoilt.length }, fault })
    const spoil = async (work: () => Promise<void>) => {
      for (let attempts = 0; attempts < 500; attempts++) {
        const error = await work().catch((thrown: unknown) => thrown)
        if (error === undefined) return
        assert.ok(error instanceof ProviderError && error.kind !== 'auth', String(error))
      }
      assert.fail('it does not come to an end')
    }
    await spoil(() => rough.driver.run())
    const ids = Array.from({ length: 30 }, () => rough.sim.mutate({ type: 'deliver', user: USER, provider }))
    for (let polls = 0; polls < 4; polls++) {
      rough.driver.interval()
      await spoil(() => rough.driver.run())
    }
    rough.sim.faults.clear()
    await rough.driver.poll()
    const have = new Set(rough.driver.emitted.map(({ id }) => id))
    assert.ok(ids.every((id) => have.has(id)))
    assertTruth(rough.sim, rough.driver, provider)
  })
}

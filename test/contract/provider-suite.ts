/**
 * What every provider adapter promises, stated once and run for each on the simulator, whose truth is the judge.
 * It knows no adapter from the inside: only pages, errors and what ends up stored.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createHttp, type Http } from '../../services/mail/base/http.ts'
import { type MailProvider, ProviderError, type ProviderErrorKind } from '../../services/mail/provider/provider.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from '../simulator/simulator.ts'
import type { Fault, ProviderName } from '../simulator/types.ts'
import { until } from '../support/until.ts'
import { createDriver, type Driver } from './page-driver.ts'

export type Subject = {
  provider: ProviderName
  make(sim: Simulator, http: Http): MailProvider
  /** Routes that list, and how many pages lie before their first request. */
  listRoutes: readonly string[]
  getRoute: string
  /** Mail that lands where it is no event, as `deliver` takes it. */
  hidden: { labels?: readonly string[]; folder?: string }
  expire: readonly Fault[]
  /** Extra faults of this provider, and what each is. */
  faults: readonly (readonly [Fault, ProviderErrorKind])[]
  /** Makes the first pass of a driver fetch messages one by one. */
  forceGets: readonly Fault[]
}

export const USER = 'ada'

const TRANSPORT: readonly (readonly [Fault, ProviderErrorKind])[] = [
  [{ type: '429', retryAfter: 7 }, 'throttled'],
  [{ type: '403scope' }, 'rejected'],
  [{ type: '500' }, 'transient'],
  [{ type: '503' }, 'transient'],
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

type Bench = AsyncDisposable & { sim: Simulator; driver: Driver; http: Http }

/** @param n seeded mails. */
export async function bench(
  subject: Subject,
  n: number,
  options: SimulatorOptions & { deadlineMs?: number } = {},
): Promise<Bench> {
  await using stack = new AsyncDisposableStack()
  const sim = stack.use(await startSimulator(options))
  const http = stack.use(createHttp({ deadlineMs: options.deadlineMs ?? 10_000 }))
  const { access_token } = sim.addMailbox({ user: USER, provider: subject.provider, n })
  const driver = createDriver(() => subject.make(sim, http), access_token)
  const owned = stack.move()
  return { sim, driver, http, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** Everything that must be there is, nothing that must not be, nothing twice, and nobody was asked for what is not there. */
export function assertTruth(sim: Simulator, driver: Driver, provider: ProviderName): void {
  const { must, mustNot } = sim.truth(USER, provider)
  const ids = driver.emitted.map(({ id }) => id)
  const have = new Set(ids)
  assert.deepEqual(
    must.filter((id) => !have.has(id)),
    [],
    'lost',
  )
  assert.deepEqual(
    mustNot.filter((id) => have.has(id)),
    [],
    'not to be emitted',
  )
  assert.equal(ids.length, have.size, 'emitted twice')
  assert.deepEqual(
    sim.log().filter((entry) => entry.unexpected),
    [],
  )
}

const rejection = async (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => assert.fail('a page came'),
    (error: unknown) => error,
  )

/** The state as it was must be the state as it is. */
async function failsWithout(driver: Driver, lane: string, kind: ProviderErrorKind): Promise<ProviderError> {
  const was = structuredClone(driver.state())
  const error = await rejection(driver.step(lane))
  assert.ok(error instanceof ProviderError, String(error))
  assert.equal(error.kind, kind, error.message)
  assert.deepEqual(driver.state(), was)
  return error
}

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

function faultSuite(subject: Subject): void {
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

  it('sets one bad message aside and brings all others; the bad one comes later', async () => {
    await using spoiled = await bench(subject, 60)
    for (const fault of subject.forceGets) spoiled.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault })
    const bad: Fault[] = [{ type: '400precondition' }, { type: 'wrongType' }]
    for (const [at, fault] of bad.entries()) {
      spoiled.sim.faults.add({ match: { route: subject.getRoute, nth: 3 + at }, fault })
    }
    await spoiled.driver.run()
    const aside = spoiled.driver.state().aside
    assert.deepEqual(Object.values(aside).sort(), ['refused', 'unreadable'])
    const { must } = spoiled.sim.truth(USER, provider)
    assert.ok(spoiled.driver.emitted.length >= must.length - 2)
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
}

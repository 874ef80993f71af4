/** What is special about Gmail: positions that expire, ids collected in passes, and what each step costs. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Clock } from '../../services/mail/base/time.ts'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import type { ProviderError } from '../../services/mail/provider/provider.ts'
import { assertTruth, bench, type Subject, USER } from './bench.ts'

const GMAIL: Pick<Subject, 'provider' | 'make'> = {
  provider: 'google',
  make: (sim, http) => createGmail({ baseUrl: sim.env.MAIL_GMAIL_BASE_URL, getUnits: 20, http }),
}
const world = { user: USER, provider: 'google' } as const
type Box = Awaited<ReturnType<typeof bench>>
const asked = (box: Box, from = 0) => {
  const counts: Record<string, number> = {}
  for (const { route } of box.sim.log().slice(from)) counts[route] = (counts[route] ?? 0) + 1
  return counts
}

const CUT = { operation: 'gmail.messages.list', status: 200, code: 'BAD_SHAPE' }

function clockAt(startMs: number) {
  let wallMs = startMs
  const clock: Clock = { wallMs: () => wallMs, monoMs: () => wallMs, sleep: () => Promise.resolve() }
  const pass = (ms: number): void => {
    wallMs += ms
  }
  return { clock, pass }
}
const clocked = ({ clock }: ReturnType<typeof clockAt>): typeof GMAIL => ({
  provider: 'google',
  make: (sim, http) => createGmail({ baseUrl: sim.env.MAIL_GMAIL_BASE_URL, getUnits: 20, http, clock }),
})

describe('the lanes of Gmail', () => {
  it('take the position before anything is listed', async () => {
    await using box = await bench(GMAIL, 5)
    await box.driver.step('history')
    assert.deepEqual(asked(box), { 'gmail.profile': 1 })
    const { lanes, syncCursor, totalEstimate } = box.driver.state()
    assert.deepEqual(Object.keys(lanes), ['history', 'enum', 'drain'])
    assert.match(syncCursor ?? '', /^\d+$/)
    assert.equal(totalEstimate, 5)
    const late = box.sim.mutate({ type: 'deliver', ...world })
    box.driver.interval()
    await box.driver.step('history')
    assert.deepEqual(box.driver.state().queue, [late])
  })

  it('bring a few new mails with the page that names them, and queue what is more', async () => {
    await using box = await bench(GMAIL, 5)
    await box.driver.run()
    box.driver.fetchNew()
    const deliver = (n: number) => Array.from({ length: n }, () => box.sim.mutate({ type: 'deliver', ...world }))
    const few = deliver(25)
    const from = box.sim.log().length
    box.driver.interval()
    await box.driver.step('history')
    assert.deepEqual(
      box.driver.emitted.slice(-25).map(({ id }) => id),
      few,
    )
    assert.deepEqual(asked(box, from)['gmail.history.list'], 1)
    const many = deliver(26)
    box.driver.interval()
    await box.driver.step('history')
    assert.deepEqual(box.driver.state().queue, many)
    await box.driver.run()
    assertTruth(box.sim, box.driver, 'google')
  })

  it('list the ids of a large mailbox twice, those of one page once, and get each message once', async () => {
    await using large = await bench(GMAIL, 620)
    await large.driver.run()
    // Drafts and chats are fetched to find out what they are; nothing else is left over.
    assert.deepEqual(asked(large)['gmail.messages.list'], 4)
    await using small = await bench(GMAIL, 60)
    await small.driver.run()
    assert.deepEqual(asked(small)['gmail.messages.list'], 1)
  })

  it('ask once at an idle poll, for two units', async () => {
    await using box = await bench(GMAIL, 20)
    await box.driver.run()
    const from = box.sim.log().length
    const before = structuredClone(box.driver.state())
    await box.driver.poll()
    assert.deepEqual(asked(box, from), { 'gmail.history.list': 1 })
    assert.deepEqual(box.driver.state(), before)
  })

  it('fetch nothing that is stored when the position was forgotten', async () => {
    await using box = await bench(GMAIL, 60)
    await box.driver.run()
    const dropped = (asked(box)['gmail.messages.get'] ?? 0) - box.driver.emitted.length
    const from = box.sim.log().length
    box.sim.faults.add({ match: { route: 'gmail.history.list', nth: 1 }, fault: { type: 'expireHistory' } })
    await box.driver.poll()
    assert.equal(box.driver.seen.gone, 1)
    assert.equal(asked(box, from)['gmail.messages.get'] ?? 0, dropped)
  })

  it('start the passes again after a refused page token, the history walk where it began', async () => {
    await using box = await bench(GMAIL, 620)
    await box.driver.step('history')
    await box.driver.step('enum')
    box.sim.faults.add({ match: { route: 'gmail.messages.list', nth: 1 }, fault: { type: 'badPageToken' } })
    await assert.rejects(box.driver.ask('enum'), { kind: 'gone' })
    box.sim.faults.clear()

    for (let i = 0; i < 501; i++) box.sim.mutate({ type: 'deliver', ...world })
    const start = box.driver.state().lanes.history?.cursor
    box.driver.interval()
    await box.driver.step('history')
    assert.equal(box.driver.state().lanes.history?.done, false)
    box.sim.faults.add({ match: { route: 'gmail.history.list', nth: 1 }, fault: { type: 'badPageToken' } })
    await box.driver.step('history')
    assert.equal(box.driver.state().lanes.history?.cursor, start)
    box.sim.faults.clear()
    await box.driver.run()
    assertTruth(box.sim, box.driver, 'google')
  })

  it('give a page token up in whatever words it is refused, but not when a limit was met', async () => {
    await using box = await bench(GMAIL, 620)
    await box.driver.step('history')
    await box.driver.step('enum')
    for (let i = 0; i < 501; i++) box.sim.mutate({ type: 'deliver', ...world })
    const start = box.driver.state().lanes.history?.cursor
    box.driver.interval()
    await box.driver.step('history')
    for (const reason of ['invalidArgument', 'badRequest', 'invalid', 'failedPrecondition', 'somethingNew']) {
      box.sim.faults.add({ fault: { type: 'badPageToken', reason } })
      await assert.rejects(box.driver.ask('history'), (error: ProviderError) => {
        assert.deepEqual([error.kind, error.facts.restartCursor], ['gone', start], reason)
        return true
      })
      await assert.rejects(box.driver.ask('enum'), { kind: 'gone' }, reason)
      box.sim.faults.clear()
    }
    box.sim.faults.add({ fault: { type: 'badPageToken', reason: 'userRateLimitExceeded' } })
    await assert.rejects(box.driver.ask('history'), { kind: 'throttled' })
    await assert.rejects(box.driver.ask('enum'), { kind: 'throttled' })
    box.sim.faults.clear()
    await box.driver.run()
    assertTruth(box.sim, box.driver, 'google')
  })

  it('doubt a list that is empty against its estimate, however often it is, and go on when it is whole', async () => {
    for (const [n, before] of [
      [60, ['history']],
      [620, ['history', 'enum']],
    ] as const) {
      await using box = await bench(GMAIL, n)
      for (const lane of before) await box.driver.step(lane)
      box.sim.faults.add({ match: { route: 'gmail.messages.list' }, fault: { type: 'dropField', field: 'messages' } })
      await box.driver.step('enum')
      for (let times = 0; times < 20; times++) {
        await assert.rejects(box.driver.step('enum'), { kind: 'transient', facts: CUT })
      }
      box.sim.faults.clear()
      await box.driver.run()
      assertTruth(box.sim, box.driver, 'google')
    }
  })

  it('doubt an empty list in a refill as well: rows that are missing come once the list is whole', async () => {
    for (const [n, pages, doubtMs] of [
      [60, 0, 86_400_000],
      [620, 21, 1_800_000],
    ] as const) {
      const time = clockAt(1_000_000)
      await using box = await bench(clocked(time), n)
      await box.driver.run()
      const lost = box.driver.loseRows()
      for (let page = 0; page < pages; page++) await box.driver.step('refill')
      box.sim.faults.add({ match: { route: 'gmail.messages.list' }, fault: { type: 'dropField', field: 'messages' } })
      await box.driver.step('refill')
      time.pass(doubtMs - 1)
      await assert.rejects(box.driver.step('refill'), { kind: 'transient', facts: CUT })
      box.sim.faults.clear()
      await box.driver.run()
      assert.deepEqual(box.driver.state().stored.toSorted(), lost.toSorted())
      assert.equal(box.driver.state().lanes.refill, undefined)
    }
  })

  it('believe after a day that there is nothing to refill; an old doubt of a page that is listed anew does not count', async () => {
    const time = clockAt(200_000_000)
    await using box = await bench(clocked(time), 60)
    await box.driver.run()
    box.driver.loseRows()
    const cursor = JSON.stringify({ pass: 1, fresh: 0, at: 3, page: 'old', atMs: 1, emptyMs: 1 })
    box.driver.state().lanes.refill = { cursor, done: false }
    box.sim.faults.add({ match: { route: 'gmail.messages.list' }, fault: { type: 'dropField', field: 'messages' } })
    await box.driver.step('refill')
    time.pass(86_399_999)
    await assert.rejects(box.driver.step('refill'), { kind: 'transient', facts: CUT })
    time.pass(1)
    await box.driver.step('refill')
    assert.equal(box.driver.state().lanes.refill, undefined)
  })

  it('count what a throttled take of a refill has brought: the list is gone through again', async () => {
    await using box = await bench(GMAIL, 20)
    await box.driver.run()
    box.driver.loseRows()
    box.sim.faults.add({ match: { route: 'gmail.messages.get', nth: 10 }, fault: { type: '429', retryAfter: 1 } })
    await box.driver.step('refill')
    assert.equal(box.driver.seen.throttled, 1)
    const { stored } = box.driver.state()
    for (const id of box.sim.truth(USER, 'google').must)
      if (!stored.includes(id)) box.sim.mutate({ type: 'delete', id, ...world })
    const from = box.sim.log().length
    await box.driver.run()
    assert.equal(asked(box, from)['gmail.messages.list'], 2)
  })

  it('believe after half an hour that a full page was the last one', async () => {
    const time = clockAt(1_000_000)
    await using box = await bench(clocked(time), 620)
    await box.driver.step('history')
    await box.driver.step('enum')
    box.sim.faults.add({
      match: { route: 'gmail.messages.list', nth: 1 },
      fault: { type: 'dropField', field: 'messages' },
    })
    await box.driver.step('enum')
    time.pass(1_800_000)
    box.sim.faults.add({
      match: { route: 'gmail.messages.list', nth: 1 },
      fault: { type: 'dropField', field: 'messages' },
    })
    await box.driver.step('enum')
    assert.deepEqual(box.driver.state().lanes.enum, { cursor: '{"pass":2,"fresh":0}', done: false })
  })

  it('believe after a day that there is no mail but spam, so that the mailbox becomes live', async () => {
    const time = clockAt(1_000_000)
    await using box = await bench(clocked(time), 60)
    await box.driver.step('history')
    box.sim.faults.add({ match: { route: 'gmail.messages.list' }, fault: { type: 'dropField', field: 'messages' } })
    await box.driver.step('enum')
    time.pass(86_399_999)
    await assert.rejects(box.driver.step('enum'), { kind: 'transient' })
    const late = box.sim.mutate({ type: 'deliver', ...world })
    await box.driver.step('history')
    assert.deepEqual(box.driver.state().queue, [late])
    time.pass(1)
    await box.driver.step('enum')
    assert.equal(box.driver.state().lanes.enum?.done, true)
  })

  it('do not use a page token that is older than an hour', async () => {
    const time = clockAt(1_000_000)
    await using box = await bench(clocked(time), 620)
    await box.driver.step('history')
    await box.driver.step('enum')
    time.pass(3_600_001)
    await box.driver.step('enum')
    const urls = box.sim.log().filter(({ route }) => route === 'gmail.messages.list')
    assert.deepEqual(
      urls.map(({ url }) => url.includes('pageToken=')),
      [false, false],
    )
    await box.driver.run()
    assertTruth(box.sim, box.driver, 'google')
  })

  it('drop from the queue what was deleted, and put what is new in front', async () => {
    await using box = await bench(GMAIL, 60)
    await box.driver.step('history')
    await box.driver.step('enum')
    const [first = '', second = ''] = box.driver.state().queue
    box.sim.mutate({ type: 'delete', id: second, ...world })
    const added = box.sim.mutate({ type: 'deliver', ...world })
    const draft = box.sim.mutate({ type: 'draftSave', ...world })
    box.driver.interval()
    await box.driver.step('history')
    const { queue } = box.driver.state()
    assert.deepEqual(queue.slice(0, 2), [added, first])
    assert.ok(!queue.includes(second) && !queue.includes(draft))
  })
})

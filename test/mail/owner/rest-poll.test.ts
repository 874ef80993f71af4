/** A user at rest is polled without being taken over, as long as the polls find nothing and nothing else is to be done. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EVENT_STREAM } from '#shared/subjects.ts'
import { longestIntervalMs, nextPollMs, slotOf } from '../../../services/mail/base/slot.ts'
import type { AccountRecord } from '../../../services/mail/kv/account-record.ts'
import type { CheckpointRecord } from '../../../services/mail/kv/checkpoint.ts'
import { Moves } from '../../../services/mail/owner/moves.ts'
import { Rest } from '../../../services/mail/owner/rest.ts'
import { RestPoll, type RestPollDeps } from '../../../services/mail/owner/rest-poll.ts'
import { eventsOf } from '../../support/ledger.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { log } from '../kv/support.ts'
import { mail } from '../store/support.ts'
import { steady } from '../sync/plain-worker.ts'
import { accountOf, type Node, type OwnerBox, ownerBox, TWENTY } from './support.ts'

const USER = 'ada'
const POLL_MS = 100
const DAY_MS = 86_400_000
const NEVER = new AbortController().signal

const isLive = (node: Node) =>
  until('the mailbox is live', () => node.supervisor.tenures.get(USER)?.statuses()?.[0]?.state === 'live')
const tenureOf = (node: Node) => node.supervisor.tenures.get(USER)
const arePolls = (node: Node, more = 3): Promise<unknown> => {
  const from = node.provider.asked.length
  return until('it is polled', () => node.provider.asked.length >= from + more)
}

/** The user was worked for by `a`, which has ended; `b` owns it now and has polled it at rest. */
async function atRest(box: OwnerBox, tenure: Pick<RestPollDeps, 'looksAtStream'> = {}): Promise<Node> {
  const a = await box.node('a', { tenure: { pace: steady(POLL_MS) } })
  a.run()
  await box.put(a, USER)
  await isLive(a)
  await until('all is on the stream', () => (tenureOf(a)?.last.quietAt ?? null) !== null)
  await a.end()
  const b = await box.node('b', { tenure: { pace: steady(POLL_MS), ...tenure } })
  b.run()
  await arePolls(b)
  assert.deepEqual([b.workers.length, b.store.inspect(USER)], [0, 'absent'], 'nothing was taken over')
  return b
}

test('polls that find nothing take nobody over; mail that arrives does, and is published once', async () => {
  await using box = await ownerBox()
  const b = await atRest(box)
  assert.deepEqual([tenureOf(b)?.statuses(), tenureOf(b)?.rest.known], [null, ['live']])
  const { answer } = b.provider
  b.provider.answer = (request, call) =>
    request.cursor === '4'
      ? { messages: [mail('new')], lanes: [{ lane: request.lane, cursor: '5', done: true }] }
      : answer(request, call)
  await isLive(b)
  const ops = await box.connect('ops')
  await until('the mail is published', async () => (await eventsOf(ops, USER)).length === TWENTY + 1)
  const ids = (await eventsOf(ops, USER)).map(({ event }) => event.provider_message_id)
  assert.deepEqual([new Set(ids).size, ids.at(-1), b.workers.length], [TWENTY + 1, 'new', 1])
})

test('a poll that fails leaves the user to a worker', async () => {
  await using box = await ownerBox()
  const b = await atRest(box)
  const { answer } = b.provider
  let failures = 1
  b.provider.answer = (request, call) => {
    if (failures-- > 0) throw new Error('a fault')
    return answer(request, call)
  }
  await isLive(b)
})

test('a renewed credential starts nobody; whoever must sign in again, or has a grant to be revoked, is started', async () => {
  await using box = await ownerBox()
  const b = await atRest(box)
  await box.put(b, USER, { credential: 'renewed' })
  await until('the record is known', () => b.accounts.ofUser(USER)[0]?.record.credential === 'renewed')
  await arePolls(b)
  assert.equal(tenureOf(b)?.statuses(), null)
  // What it says to the next owner is of the record as it is now.
  assert.equal(tenureOf(b)?.last.quietAt, b.accounts.ofUser(USER)[0]?.revision)
  await box.put(b, USER, { revoke: 'a grant' })
  await until('it is started', () => tenureOf(b)?.statuses() !== null)
})

for (const isControl of [false, true])
  test(`events that the stream has lost are looked for${isControl ? ' (control: without the look nobody notices)' : ''}`, async () => {
    await using box = await ownerBox()
    const b = await atRest(box, isControl ? { looksAtStream: false } : {})
    const last = (await b.checkpoints.read(USER))?.record.pub ?? 0
    await b.jsm.streams.deleteMessage(EVENT_STREAM, last)
    await arePolls(b)
    assert.equal(tenureOf(b)?.statuses(), null, 'nothing says that the stream is another one')
    // As after a reconnect.
    b.tenure.relay.recheck()
    if (isControl) {
      await arePolls(b)
      assert.equal(tenureOf(b)?.statuses(), null)
    } else await until('it is started', () => (tenureOf(b)?.statuses() ?? null) !== null)
  })

type Parts = Partial<RestPollDeps> & { record?: Partial<CheckpointRecord>; account?: Partial<AccountRecord> }

/** A rest with scripted parts. The last event of the user stands at 7; the poll is due now. */
function scripted({ record = {}, account = {}, ...more }: Parts = {}) {
  const clock = new ManualClock()
  const nowS = Math.floor(clock.wallMs() / 1_000)
  const polled: number[] = []
  const status = { provider: 'google', inbox_id: 'primary', state: 'live', refill: false, outbox: { pending: 0 } }
  const checkpoint = {
    lanes: { 'google.primary': [] },
    pub: 7,
    pubEventId: 'e7',
    streamCreatedMs: 1,
    accounts: [status],
    ts: nowS,
    unsavedSince: null,
    ...record,
  } as unknown as CheckpointRecord
  const entry = {
    account: { userId: USER, provider: 'google', inboxId: 'primary' } as const,
    revision: 1,
    record: {
      ...{ v: 1, desired: 'connected', mailbox: 'x', address: 'x', credential: 'c', revoke: null, reauth: null },
      ...{ updated_at: 0, ...account },
    } as AccountRecord,
  }
  const pace = { intervalMs: 1_000, intervalMaxMs: 8_000 }
  const deps: RestPollDeps = {
    checkpoints: { read: async () => ({ record: checkpoint, revision: 1 }) },
    accounts: { ofUser: () => [entry], isToErase: () => false },
    clock,
    log,
    pace,
    retentionMs: 30 * DAY_MS,
    relay: { doubts: 0 },
    streamFacts: async () => ({ createdMs: 1, firstSeq: 1, lastSeq: 9 }),
    eventAt: async () => ({ isOfUser: true, eventId: 'e7' }),
    idlePoll: () => ({
      ask: async () => {
        polled.push(clock.wallMs())
        return true
      },
    }),
    ...more,
  }
  const ask = (poll: RestPoll): Promise<number | null> => poll.ask(clock.wallMs(), NEVER)
  return { clock, pace, polled, deps, poll: new RestPoll({ userId: USER, before: null }, { mayAsk: true }, deps), ask }
}

test('the next poll is due at the next moment of the interval in force', async () => {
  const { clock, pace, polled, poll, ask } = scripted()
  const dueMs = nextPollMs(clock.wallMs(), { pace, slot: slotOf(USER), newsMs: 0 })
  assert.equal(await ask(poll), dueMs)
  assert.ok(dueMs - clock.wallMs() <= longestIntervalMs(pace))
  assert.equal(polled.length, 1)
})

test('what is not known to be quiet, or whose events are not where they were, is started without a poll', async () => {
  const lost: Parts[] = [
    { record: { accounts: [] } },
    { record: { streamCreatedMs: 2 } },
    { record: { ts: 1_600_000_000 } },
    { record: { unsavedSince: 1_600_000_000 } },
    { account: { reauth: { code: 'TOKEN_REVOKED', at: 1 } } },
    { account: { unverified: true } },
    { account: { desired: 'disconnected', credential: null } },
    { idlePoll: () => null },
    { eventAt: async () => null },
    { eventAt: async () => ({ isOfUser: true, eventId: 'another' }) },
    { eventAt: async () => ({ isOfUser: false, eventId: null }) },
    { eventAt: () => Promise.reject(new Error('NATS is away')) },
    { checkpoints: { read: async () => null } },
  ]
  for (const parts of lost) {
    const { polled, poll, ask } = scripted(parts)
    assert.deepEqual([await ask(poll), polled.length], [null, 0], JSON.stringify(parts))
  }
})

test('an event that has aged out is not looked for', async () => {
  const aged = { streamFacts: async () => ({ createdMs: 1, firstSeq: 8, lastSeq: 9 }), eventAt: async () => null }
  const { poll, ask } = scripted(aged)
  assert.notEqual(await ask(poll), null)
})

test('a checkpoint is renewed in time: whoever rests for a day is started', async () => {
  const { clock, polled, poll, ask } = scripted()
  assert.notEqual(await ask(poll), null)
  await clock.advance(DAY_MS)
  assert.deepEqual([await ask(poll), polled.length], [null, 1])
})

test('nothing is asked while the term is in doubt, and whoever is woken gets the reason', async () => {
  const { clock, polled, deps } = scripted()
  const doubtful = new RestPoll({ userId: USER, before: null }, { mayAsk: false }, deps)
  assert.equal(await doubtful.ask(clock.wallMs(), NEVER), clock.wallMs() + 1_000)
  assert.equal(polled.length, 0)
  const reason = new Error('woken')
  const poll = new RestPoll(
    { userId: USER, before: null },
    { mayAsk: true },
    {
      ...deps,
      checkpoints: { read: () => Promise.reject(new Error('cut')) },
    },
  )
  await assert.rejects(poll.ask(clock.wallMs(), AbortSignal.abort(reason)), reason)
})

test('a mailbox that is not to be asked is looked at again when its pause is over', async () => {
  let pausedMs = 3_000
  const asked: number[] = []
  const { clock, poll, ask } = scripted({
    idlePoll: () => ({
      ask: async () => {
        asked.push(clock.wallMs())
        return pausedMs === 0 ? true : pausedMs
      },
    }),
  })
  assert.equal(await ask(poll), clock.wallMs() + 3_000)
  pausedMs = 0
  await clock.advance(3_000)
  assert.notEqual(await ask(poll), null)
  assert.equal(asked.length, 2)
  assert.deepEqual([...poll.polledMs.values()], [clock.wallMs()])
})

test('a wall clock that is set back by an hour keeps nobody waiting longer than the longest interval', async () => {
  const { clock, pace, polled, poll, ask } = scripted()
  const dueMs = (await ask(poll)) ?? 0
  await clock.advance(dueMs - clock.wallMs())
  clock.jump(-3_600_000)
  // The timer has run by the other clock: this is the poll of the moment that was meant.
  const next = (await poll.ask(dueMs, NEVER)) ?? 0
  assert.equal(polled.length, 2)
  assert.ok(next - clock.wallMs() <= longestIntervalMs(pace), `${next - clock.wallMs()} ms`)
  await clock.advance(next - clock.wallMs())
  assert.notEqual(await poll.ask(next, NEVER), null)
  assert.equal(polled.length, 3)
})

test('a mailbox that was throttled once, and is not any more, is polled at rest', async () => {
  await using box = await ownerBox()
  const a = await box.node('a')
  const lane = { lane: 'history', cursor: '4', done: true, failures: 0, syncedMs: 1, resets: 0, resetMs: 0 }
  const at = (notBeforeMs: number) => a.tenure.idlePoll(accountOf(USER), [{ ...lane, notBeforeMs }])
  const nowMs = a.tenure.clock.wallMs()
  assert.deepEqual([at(nowMs - 1) === null, at(nowMs + 60_000) === null], [false, true])
})

test('whoever is woken while the poll waits for its turn is started at once', async () => {
  const clock = new ManualClock()
  const moves = new Moves(() => undefined, clock, log)
  const taken = Promise.withResolvers<void>()
  Array.from({ length: 128 }, () => moves.polls.take({ dueMs: 0, poll: () => taken.promise }))
  const rest = new Rest(clock, { ask: async () => 1, isAsKnown: true })
  let isDue = false
  rest.begin({ dueMs: clock.wallMs(), restMs: 0, isQuiet: true, known: [] }, moves.polls, {
    due: () => {
      isDue = true
    },
  })
  await clock.advance(1_000)
  assert.equal(isDue, false)
  rest.wake()
  await clock.advance(0)
  assert.equal(isDue, true)
  taken.resolve()
})

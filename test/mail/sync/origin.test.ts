/** Where mails come from: the page that a stored mail, or an id that waits, names; and pages that nothing names any more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventId } from '#shared/event.ts'
import { emptyPage, type Page } from '../../../services/mail/provider/provider.ts'
import { enqueue, take } from '../../../services/mail/store/fetch-queue.ts'
import { setKnownSeq } from '../../../services/mail/store/known.ts'
import { eventOf, insertFromEvent } from '../../../services/mail/store/messages.ts'
import { markPublished } from '../../../services/mail/store/outbox-rows.ts'
import { pages } from '../../../services/mail/store/schema/user.ts'
import { setAsideEntries, traceOf } from '../../../services/mail/store/trace.ts'
import { commitPage } from '../../../services/mail/sync/commit-page.ts'
import { ACCOUNT, EPOCH, mail, storeBox } from '../store/support.ts'

const NOW = 1_700_000_000_000
const USER = ACCOUNT.userId

function adopted() {
  const box = storeBox()
  box.store.adopt(USER, EPOCH)
  return {
    ...box,
    /** One page of `lane`, asked with `<lane> 1` and answered with `<lane> 2`. */
    commit: (lane: string, what: Partial<Page>, takes = false) =>
      box.store.commit(USER, EPOCH, (tx) => {
        const lanes = [{ lane, cursor: `${lane} 2`, done: false }]
        const taken = takes ? take(tx, ACCOUNT, NOW * 2, 25) : []
        const asked = { lane, cursor: `${lane} 1` }
        const step = { page: { ...emptyPage(), lanes, ...what }, asked, epoch: EPOCH, taken, lanes: [], isWalk: true }
        return commitPage(tx, ACCOUNT, step, NOW)
      }),
    trace: (id: string) => box.store.read(USER, (db) => traceOf(db, ACCOUNT, id)),
    lanes: () => box.store.read(USER, ({ db }) => db.select().from(pages).all()).map(({ lane }) => lane),
  }
}
const list = (...ids: string[]): Partial<Page> => ({ enqueue: { ids, urgent: false } })

test('a mail names the page that brought it and the one that had listed its id, with cursors, epoch and time', async () => {
  await using box = adopted()
  box.commit('folder', { messages: [mail('whole')], ...list('m1') })
  const folder = {
    lane: 'folder',
    cursor: 'folder 1',
    nextCursor: 'folder 2',
    epoch: EPOCH,
    atMs: NOW,
  }
  const whole = box.trace('whole')
  const { id, ...page } = whole.page ?? { id: 0 }
  assert.deepEqual([page, whole.listedBy], [folder, null])
  assert.deepEqual(box.trace('m1').queued?.listedBy, whole.page)
  box.commit('drain', { messages: [mail('m1')], lanes: [] }, true)
  const fetched = box.trace('m1')
  assert.deepEqual(fetched.listedBy, { id, ...folder })
  assert.deepEqual(
    [fetched.page?.lane, fetched.page?.cursor, fetched.page?.nextCursor],
    ['drain', 'drain 1', 'drain 1'],
    'a lane that is not named stays where it is',
  )
  assert.deepEqual([fetched.queued, fetched.outbox?.id, fetched.seq], [null, 2, 0])
})

test('a page that brings nothing new leaves no row', async () => {
  await using box = adopted()
  box.commit('enum', list('m1'))
  for (const what of [{}, list('m1'), { drop: ['m9'] }, { failed: [] }]) box.commit('enum', what)
  assert.deepEqual(box.lanes(), ['enum'])
  box.commit('drain', { messages: [mail('m1')] }, true)
  box.commit('folder', { messages: [mail('m1')] })
  assert.deepEqual(box.lanes(), ['enum', 'drain'])
})

test('a page whose ids all turn out to be no mail is forgotten with the last of them; one that a mail names never is', async () => {
  await using box = adopted()
  box.commit('enum', list('spam1', 'spam2', 'odd'))
  box.commit('drain', { drop: ['spam1'] }, true)
  box.commit('history', { drop: ['spam2'] })
  assert.deepEqual(box.lanes(), ['enum'], 'one of them waits')
  box.commit('drain', { failed: [{ id: 'odd', reason: 'unreadable' }] }, true)
  assert.deepEqual(box.lanes(), ['enum'], 'what is set aside still names it')
  box.commit('history', { enqueue: { ids: ['odd'], urgent: true } })
  assert.deepEqual(box.lanes(), ['history'], 'listed again by another page')
  box.commit('drain', { messages: [mail('odd')] }, true)
  assert.deepEqual(box.lanes(), ['history', 'drain'])
  box.commit('enum', list('m1', 'spam3'))
  box.commit('drain', { messages: [mail('m1')], drop: ['spam3'] }, true)
  assert.deepEqual(box.lanes().toSorted(), ['drain', 'drain', 'enum', 'history'])
})

test('what is set aside names the last answer of the provider, and a message that failed untaken its page', async () => {
  await using box = adopted()
  box.commit('refill', { failed: [{ id: 'odd', reason: 'unreadable' }] })
  assert.equal(box.trace('odd').queued?.listedBy?.lane, 'refill')
  const facts = { operation: 'gmail.messages.get', status: 503, code: 'backendError' }
  box.commit('drain', { failed: [{ id: 'odd', reason: 'unavailable', facts }] }, true)
  const [entry] = box.store.read(USER, (db) => setAsideEntries(db, ACCOUNT, 10))
  assert.deepEqual([entry?.attempts, entry?.reason, entry?.error], [1, 'unavailable', '503 backendError'])
  box.commit('drain', { failed: [{ id: 'odd', reason: 'unreadable' }] }, true)
  assert.deepEqual([box.trace('odd').queued?.error, box.trace('odd').queued?.attempts], [null, 2])
  assert.equal(box.store.read(USER, (db) => setAsideEntries(db, ACCOUNT, 0)).length, 0)
})

test('of what was learned from the stream, or queued before, no page is known', async () => {
  await using box = adopted()
  await using other = adopted()
  other.commit('folder', { messages: [mail('m1')] })
  const event = other.store.read(USER, (db) => eventOf(db, eventId(USER, 'GOOGLE', 'primary', 'm1')))
  assert.ok(event !== null)
  box.store.commit(USER, EPOCH, (tx) => insertFromEvent(tx, event, 7))
  const { page, listedBy, seq, storedAt } = box.trace('m1')
  assert.deepEqual([page, listedBy, seq, storedAt], [null, null, 7, event.ts])
  box.store.commit(USER, EPOCH, (tx) => enqueue(tx, ACCOUNT, ['m2'], { urgent: false }))
  box.commit('drain', { messages: [mail('m2')] }, true)
  assert.deepEqual([box.trace('m2').page?.lane, box.trace('m2').listedBy], ['drain', null])
})

test('the row of a published event is found, also where the ledger does not say any more where it stands', async () => {
  await using box = adopted()
  box.commit('folder', { messages: [mail('m1')] })
  const event = box.trace('m1').eventId
  const published = (seq: number) =>
    box.store.commit(USER, EPOCH, (tx) =>
      markPublished(tx, [{ id: 1, msgId: event, seq }], { seq, eventId: event }, NOW),
    )
  published(7)
  assert.deepEqual([box.trace('m1').outbox?.publishedAt, box.trace('m1').seq], [NOW / 1_000, 7])
  box.store.commit(USER, EPOCH, (tx) => setKnownSeq(tx, event, 0))
  assert.deepEqual([box.trace('m1').outbox?.publishedAt, box.trace('m1').seq], [NOW / 1_000, 0])
})

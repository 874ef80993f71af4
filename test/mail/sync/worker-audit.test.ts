/** The audit of a mailbox as its worker runs it: what it proves, finds, counts and goes on with, and what is live meanwhile. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MessageMeta } from '../../../services/mail/base/model.ts'
import { emptyPage, type Page, type PageRequest } from '../../../services/mail/provider/provider.ts'
import { type Audit, type Finding, readAudit } from '../../../services/mail/store/audits.ts'
import { sql } from '../../../services/mail/store/drizzle.ts'
import type { WorkerDeps } from '../../../services/mail/sync/worker-deps.ts'
import { ACCOUNT, EPOCH, mail } from '../store/support.ts'
import { WorkerBox } from './worker-box.ts'

const OLD = 1_600_000_000
const PER_PAGE = 2
const old = (id: string): MessageMeta => mail(id, { msgDate: OLD })
const names = (n: number): MessageMeta[] => Array.from({ length: n }, (_, at) => old(`m${at}`))

/**
 * A mailbox whose lane `history` brings nothing, whose `enum` lists all in one page, and whose `audit` lists two a page.
 * `hidden` is left out by `enum`.
 */
function mailbox(mails: MessageMeta[]) {
  const box = new WorkerBox()
  const script = { mails, hidden: new Set<string>(), unproven: false, before: async (): Promise<void> => undefined }
  const audit = ({ lane, cursor, known }: PageRequest): Partial<Page> => {
    const [pass = 1, at = 0, fresh = 0] = (cursor ?? '1 0 0').split(' ').map(Number)
    const listed = script.mails.slice(at, at + PER_PAGE)
    const ids = listed.map(({ id }) => id)
    const have = known(ids)
    const messages = listed.filter(({ id }) => !have.has(id))
    const found = fresh + messages.length
    const page = { messages, listed: { ids, pass } }
    const on = (next: string) => ({ ...page, lanes: [{ lane, cursor: next, done: false }], more: true })
    if (at + PER_PAGE < script.mails.length) return on(`${pass} ${at + PER_PAGE} ${found}`)
    return found > 0 ? on(`${pass + 1} 0 0`) : { ...page, dropLanes: [lane] }
  }
  box.provider.answer = async (request) => {
    const { lane, cursor } = request
    if (lane === 'history') {
      const enumLane = { lane: 'enum', cursor: null, done: false }
      return { lanes: [{ lane, cursor: 'h', done: true }, ...(cursor === null ? [enumLane] : [])] }
    }
    if (lane === 'enum') {
      const messages = script.mails.filter(({ id }) => !script.hidden.has(id))
      const more = script.unproven ? { unproven: true as const } : {}
      return { ...emptyPage(), messages, lanes: [{ lane, cursor: 'e', done: true }], ...more }
    }
    await script.before()
    return audit(request)
  }
  const stored = (): Audit => box.store.read(ACCOUNT.userId, (db) => readAudit(db, ACCOUNT))
  const figures = () => {
    const { passes, missing, gone, providerTotal, finishedMs } = stored()
    return { passes, missing, gone, providerTotal, done: finishedMs !== null }
  }
  const status = () => box.facts().status
  const lose = (id: string): void =>
    box.store.commit(ACCOUNT.userId, EPOCH, ({ db }) => {
      db.run(sql`DELETE FROM email_received_events WHERE provider_message_id = ${id}`)
    })
  return Object.assign(box, { script, stored, figures, status, lose })
}

test('the end of the first walk is a proof, and polls that bring nothing write none', async () => {
  await using box = mailbox(names(5))
  const { worker, end } = box.start()
  await box.clock.advance(5_000)
  const { provenMs, startedMs } = box.stored()
  assert.ok(provenMs !== null && provenMs > 0)
  assert.deepEqual([box.status(), startedMs, box.of('audit').length], ['LIVE', null, 0])
  await box.clock.advance(300_000)
  assert.equal(box.stored().provenMs, provenMs)
  assert.equal(worker.state.audit.provenMs, provenMs)
  await end()
})

test('an audit of a mailbox that is whole lists it once, renews the proof, and says what is gone', async () => {
  await using box = mailbox(names(5))
  const { worker, end } = box.start()
  await box.clock.advance(5_000)
  const before = Number(box.stored().provenMs)
  box.script.mails = box.script.mails.slice(1)
  worker.audit()
  await box.clock.advance(10_000)
  assert.deepEqual(box.figures(), { passes: 1, missing: 0, gone: 1, providerTotal: 4, done: true })
  assert.ok(Number(box.stored().provenMs) > before)
  assert.deepEqual([box.status(), box.stored().cost, box.of('audit').length], ['LIVE', 2, 2])
  assert.deepEqual([...new Set(box.of('audit').map(({ priority }) => priority))], ['refill'])
  await end()
})

test('mail that has no row is missing: the account is not live until a walk brings nothing more', async () => {
  await using box = mailbox(names(5))
  const { worker, end } = box.start()
  await box.clock.advance(5_000)
  box.lose('m1')
  box.script.mails = [...box.script.mails, old('never-listed')]
  const seen: (string | null)[] = []
  box.script.before = async () => void seen.push(box.status())
  worker.audit()
  await box.clock.advance(10_000)
  assert.deepEqual(box.figures(), { passes: 2, missing: 2, gone: 0, providerTotal: 6, done: true })
  // Two walks of three pages; the first page of the first one finds the first.
  assert.deepEqual(seen, ['LIVE', ...Array(5).fill('BACKFILLING')])
  assert.deepEqual([box.status(), box.facts().stored, box.facts().events], ['LIVE', 6, 6])
  assert.deepEqual(
    box.stored().findings.map(({ what }) => what),
    ['missing', 'missing'],
  )
  await end()
})

test('mail that came a moment ago is fetched and is no fault', async () => {
  await using box = mailbox(names(3))
  const { worker, end } = box.start()
  await box.clock.advance(5_000)
  box.script.mails = [mail('young', { msgDate: Math.floor(box.clock.wallMs() / 1_000) - 599 }), ...box.script.mails]
  worker.audit()
  await box.clock.advance(10_000)
  assert.deepEqual(box.figures(), { passes: 2, missing: 0, gone: 0, providerTotal: 4, done: true })
  await end()
})

test('a walk that ended with something new starts an audit by itself, and is no proof', async () => {
  await using box = mailbox(names(5))
  box.script.unproven = true
  box.script.hidden.add('m3')
  const seen: (string | null)[] = []
  box.script.before = async () => void seen.push(box.status())
  const { end } = box.start()
  await box.clock.advance(20_000)
  assert.deepEqual([...new Set(seen)], ['BACKFILLING'])
  assert.deepEqual([box.status(), box.facts().stored, box.figures().missing], ['LIVE', 5, 1])
  await end()
})

test('a mailbox that was walked before anybody asked for a proof is audited once', async () => {
  await using box = mailbox(names(5))
  const first = box.start()
  await box.clock.advance(5_000)
  await first.end()
  box.store.commit(ACCOUNT.userId, EPOCH, ({ db }) => void db.run(sql`DELETE FROM audits`))
  const auditSubject = async (): Promise<never> => assert.fail('nobody has asked for the stream to be compared')
  const { end } = box.start({ auditSubject })
  assert.equal(box.status(), 'LIVE')
  await box.clock.advance(60_000)
  assert.deepEqual(box.figures(), { passes: 1, missing: 0, gone: 0, providerTotal: 5, done: true })
  assert.equal(box.of('audit').length, 3)
  await end()
})

test('an audit that is interrupted goes on from its page, and still knows what it was shown', async () => {
  await using box = mailbox(names(9))
  const first = box.start()
  await box.clock.advance(5_000)
  box.lose('m0')
  const reached = Promise.withResolvers<void>()
  let pages = 0
  // The third page never comes.
  box.script.before = async () => {
    if (++pages !== 3) return
    reached.resolve()
    await new Promise(() => undefined)
  }
  first.worker.audit()
  await box.clock.advance(10_000)
  await reached.promise
  assert.equal(box.lanes().get('audit')?.cursor, '1 4 1')
  void first.end()
  const { worker, end } = box.start()
  worker.audit()
  await box.clock.advance(20_000)
  assert.equal(box.of('audit').at(3)?.cursor, '1 4 1')
  assert.deepEqual(box.figures(), { passes: 2, missing: 1, gone: 0, providerTotal: 9, done: true })
  await end()
})

test('what the stream half finds is counted before the mailbox is asked, page by page', async () => {
  await using box = mailbox(names(2))
  const cursors: (string | null)[] = []
  const finding = (what: Finding['what']): Finding => ({ what, eventId: null, seq: 1 })
  const auditSubject: WorkerDeps['auditSubject'] = async (_account, cursor) => {
    cursors.push(cursor)
    const found = [finding('twice'), finding('extra'), finding('absent')]
    return { cursor: cursor === null ? 'on' : null, settle: () => (cursor === null ? found : []) }
  }
  const hints: boolean[] = []
  const { worker, end } = box.start({ auditSubject, committed: (cursorOnly) => void hints.push(cursorOnly) })
  await box.clock.advance(5_000)
  hints.length = 0
  worker.audit()
  await box.clock.advance(10_000)
  assert.deepEqual(cursors, [null, 'on'])
  const { twice, extra, absent, provenMs } = box.stored()
  assert.deepEqual([twice, extra, absent], [1, 1, 1])
  // What is too much on the stream is a fault of it; the mailbox is complete all the same.
  assert.ok(provenMs !== null)
  assert.deepEqual([box.status(), hints[0]], ['LIVE', false])
  await end()
})

test('a message that is set aside is listed and not stored: the proof waits for it', async () => {
  await using box = mailbox(names(2))
  const answer = box.provider.answer
  let isReadable = false
  box.provider.answer = async (request, call) => {
    if (request.lane === 'enum') {
      const lanes = [
        { lane: 'enum', cursor: 'e', done: true },
        { lane: 'drain', cursor: null, done: true },
      ]
      return { enqueue: { ids: ['m0', 'm1'], urgent: false }, lanes }
    }
    if (request.lane !== 'drain') return await answer(request, call)
    const [good, bad] = [
      request.take.filter((id) => id === 'm0' || isReadable),
      request.take.filter((id) => id === 'm1'),
    ]
    return {
      messages: good.map(old),
      failed: isReadable ? [] : bad.map((id) => ({ id, reason: 'unreadable' as const })),
    }
  }
  const { worker, end } = box.start()
  await box.clock.advance(10_000)
  assert.deepEqual([box.status(), box.stored().provenMs, worker.state.queue.setAside], ['RETRYING', null, 1])
  isReadable = true
  await box.clock.advance(3_600_000)
  assert.deepEqual([box.status(), box.facts().stored], ['LIVE', 2])
  assert.ok(box.stored().provenMs !== null)
  await end()
})

test('an account that is not walked to its end is not audited', async () => {
  await using box = mailbox(names(2))
  const { worker, end } = box.start()
  worker.audit()
  assert.deepEqual([...worker.state.lanes.keys()], ['history'])
  await end()
})

test('the control: an audit that compares nothing finds nothing', async () => {
  await using box = mailbox(names(5))
  const { worker, end } = box.start({ auditCompares: false })
  await box.clock.advance(5_000)
  box.lose('m1')
  worker.audit()
  await box.clock.advance(10_000)
  assert.deepEqual(box.figures(), { passes: 1, missing: 0, gone: 0, providerTotal: 4, done: true })
  await end()
})

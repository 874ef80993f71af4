/**
 * A past owner that does not know yet: what it still writes is refused by the database and by the checkpoint, and each
 * refusal is counted. Each protection has its control arm: without it the write lands, and what follows from it happens.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { BUCKET_STATE, EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { type CheckpointRecord, Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import type { Page } from '../../../services/mail/provider/provider.ts'
import { readLanes } from '../../../services/mail/store/lanes.ts'
import { eventsOf } from '../../support/ledger.ts'
import { startProxy } from '../../support/proxy.ts'
import { until } from '../../support/until.ts'
import { accountOf, type Node, ownerBox, TWENTY } from './support.ts'

/** Belongs to `a` as long as `a` and `b` live. */
const USER =
  Array.from({ length: 100 }, (_, i) => `user${i}`).find((user) => desiredOwner(user, ['a', 'b']) === 'a') ?? ''
/** No deadline ends a term meanwhile. */
const NEVER_SILENT_MS = 60_000

async function refusals({ tenure }: Node): Promise<Record<string, number>> {
  const metric = await tenure.telemetry.registry.getSingleMetric('mailsync_zombie_writes_refused_total')?.get()
  const counts = metric?.values.map(({ labels, value }): [string, number] => [String(labels.store), value])
  return Object.fromEntries(counts?.filter(([, value]) => value > 0) ?? [])
}

/** Pages from cursor `from` on come when the gate says so; whatever its answer is, it is the past owner's. */
function holdPage({ provider }: Node, from: string): { asked: Promise<void>; let: () => void } {
  const [asked, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { answer } = provider
  provider.answer = async (request, call): Promise<Partial<Page>> => {
    if (request.cursor === from) {
      asked.resolve()
      await gate.promise
    }
    return await answer(request, call)
  }
  return { asked: asked.promise, let: gate.resolve }
}
const positionOf = ({ store }: Node): string | null | undefined =>
  store.read(USER, (db) => readLanes(db, accountOf(USER))).find(({ lane }) => lane === 'history')?.cursor

/**
 * One volume, two processes: the first is cut off while it waits for a page, the second was started in its place where
 * the lock of the volume does not tell (a network drive, a container that was given up for lost). The page arrives last.
 * Answers the position in the database afterwards.
 */
async function lateTransaction(control: { compareEpochs?: false }) {
  await using box = await ownerBox()
  await using proxy = await startProxy(box.server.port)
  const ops = await box.connect('ops')
  const old = await box.node('a', { port: proxy.port, silenceMs: NEVER_SILENT_MS, ...control })
  const page = holdPage(old, '2')
  const further = holdPage(old, '3')
  old.run()
  await box.put(old, USER)
  await page.asked
  proxy.hold('toServer')
  proxy.hold('toClient')
  const next = await box.node('a', { silenceMs: NEVER_SILENT_MS })
  next.run()
  await until('the next owner has fetched and published all', async () => {
    return positionOf(next) === '4' && (await eventsOf(ops, USER)).length === TWENTY
  })
  assert.ok(old.supervisor.owns(USER), 'by its deadline, and by what it has heard')
  page.let()
  await until('the page was committed or refused', async () => {
    return positionOf(next) !== '4' || (await refusals(old)).sqlite === 1
  })
  const result = { position: positionOf(next), refused: await refusals(old) }
  further.let()
  proxy.release()
  return result
}

/** Checkpoints of which the one with lanes is written only when the gate opens: a process paused just before sending. */
class PausedCheckpoints extends Checkpoints {
  readonly #gate = Promise.withResolvers<void>()
  readonly #reached = Promise.withResolvers<void>()
  #done: Promise<unknown> | null = null

  get reached(): Promise<void> {
    return this.#reached.promise
  }
  override async write(userId: string, record: CheckpointRecord, revision: number | null): Promise<number> {
    if (Object.keys(record.lanes).length === 0 || this.#done !== null)
      return await super.write(userId, record, revision)
    this.#reached.resolve()
    const done = this.#gate.promise.then(() => super.write(userId, record, revision))
    this.#done = done.catch(() => undefined)
    return await done
  }
  async goOn(): Promise<void> {
    this.#gate.resolve()
    await this.#done
  }
}

/**
 * `a` is paused before it writes its checkpoint; `b` takes over, publishes the rest and is gone; what was published ages
 * out of the stream. The checkpoint of `a` comes, and then `a` itself. Answers what was published once more.
 */
async function lateCheckpoint(control: { compare?: false }) {
  await using box = await ownerBox()
  await using proxyA = await startProxy(box.server.port)
  await using proxyB = await startProxy(box.server.port)
  const ops = await box.connect('ops')
  const bucket = await Bucket.open(box.nc, BUCKET_STATE)
  const checkpoints = new PausedCheckpoints(() => bucket, control)
  const a = await box.node('a', { port: proxyA.port, tenure: { checkpoints } })
  const b = await box.node('b', { port: proxyB.port })
  const rest = holdPage(a, '2')
  a.run()
  await box.put(a, USER)
  await checkpoints.reached
  proxyA.cut()
  b.run()
  const written = async (): Promise<boolean> => (await b.checkpoints.read(USER))?.record.pub === TWENTY
  await until('b has published the rest, and written so', written)
  const before = await eventsOf(ops, USER)
  await (await jetstreamManager(ops)).streams.purge(EVENT_STREAM, { filter: eventSubject(USER) })
  proxyB.cut()
  await checkpoints.goOn()
  const refused = await refusals(a)
  rest.let()
  const asked = a.provider.asked.length
  proxyA.heal()
  await until('a owns the user again and polls', () => a.supervisor.owns(USER) && a.provider.asked.length > asked + 5)
  await until('nothing waits', () => a.supervisor.tenures.get(USER)?.pending === 0)
  const known = new Set(before.map(({ msgId }) => msgId))
  const again = (await eventsOf(ops, USER)).filter(({ msgId }) => known.has(msgId)).length
  proxyB.heal()
  return { events: known.size, again, refused }
}

// Each has a server of its own, and most of their time is waiting.
describe('a past owner that does not know yet', { concurrency: 4 }, () => {
  test('a page that arrives after another process has taken the database over is refused, and counted once', async () => {
    assert.deepEqual(await lateTransaction({}), { position: '4', refused: { sqlite: 1 } })
  })
  test('control: without the compared epoch it moves the position back behind what the next owner has done', async () => {
    assert.deepEqual(await lateTransaction({ compareEpochs: false }), { position: '3', refused: {} })
  })

  test('a checkpoint that is written after another owner has written is refused, and counted once', async () => {
    assert.deepEqual(await lateCheckpoint({}), { events: TWENTY, again: 0, refused: { state: 1 } })
  })
  test('control: without the compared revision the next owner goes on from it, and mail is published twice', async () => {
    assert.deepEqual(await lateCheckpoint({ compare: false }), { events: TWENTY, again: TWENTY / 2, refused: {} })
  })
})

/** Snapshots as the checkpointer takes them: when they are due, and again when they could not be put. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BUCKET_STATE, SNAPSHOT_STREAM } from '#shared/subjects.ts'
import type { Epoch } from '../../../services/mail/base/model.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { Checkpoints } from '../../../services/mail/kv/checkpoint.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { Checkpointer } from '../../../services/mail/owner/checkpointer.ts'
import { takeOver } from '../../../services/mail/owner/takeover.ts'
import { storeNew } from '../../../services/mail/store/messages.ts'
import { readMeta } from '../../../services/mail/store/meta.ts'
import { dueRows, markPublished } from '../../../services/mail/store/outbox-rows.ts'
import { until } from '../../support/until.ts'
import { ManualClock } from '../base/manual-clock.ts'
import { kvBox, log } from '../kv/support.ts'
import { ACCOUNT, EPOCH, mails, storeBox } from '../store/support.ts'
import { takeoverParts } from './takeover-parts.ts'

const USER = ACCOUNT.userId

/** 600 published mails of a user, and a checkpointer whose puts fail as often as told, before or after they are stored. */
async function snapshotterBox(failures: number, failsStored = false) {
  await using stack = new AsyncDisposableStack()
  const kv = stack.use(await kvBox())
  const { store } = stack.use(storeBox())
  const bucket = await Bucket.open(kv.nc, BUCKET_STATE)
  const checkpoints = new Checkpoints(() => bucket)
  const parts = await takeoverParts(kv.nc)
  const { jsm } = await openJetStream(kv.nc)
  const clock = new ManualClock()
  const deps = { ...parts, checkpoints, store, clock, log }
  const puts: string[] = []
  const snapshots = {
    createdMs: 1,
    inTurn: <T>(work: () => Promise<T>) => work(),
    async put(name: string, pieces: Parameters<typeof parts.snapshots.put>[1]): Promise<void> {
      puts.push(name)
      const fails = puts.length <= failures
      if (!fails || failsStored) await parts.snapshots.put(name, pieces)
      if (fails) throw new Error('TIMEOUT')
    },
    removes: 0,
    removeFails: 0,
    async remove(name: string): Promise<void> {
      if (++snapshots.removes <= snapshots.removeFails) throw new Error('TIMEOUT')
      await parts.snapshots.remove(name)
    },
  }
  const term = async (epoch: Epoch) => {
    const { checkpoint } = await takeOver(USER, epoch, 'sid', deps)
    const parts = {
      ...deps,
      snapshots,
      owns: () => true,
      accounts: () => [ACCOUNT],
      statuses: () => [],
      lanes: () => null,
      newsMs: () => ({}),
    }
    return new Checkpointer(USER, epoch, checkpoint, parts)
  }
  let checkpointer = await term(EPOCH)
  let epoch = EPOCH
  const publish = (prefix: string, n: number): void =>
    store.commit(USER, epoch, (tx) => {
      storeNew(tx, ACCOUNT, mails(prefix, n), 1)
      const rows = dueRows(tx, n).map(({ id, msgId }) => ({ id, msgId, seq: id }))
      const last = rows.at(-1)
      if (last !== undefined) markPublished(tx, rows, { seq: last.seq, eventId: last.msgId }, 1)
    })
  let stop = new AbortController()
  let running = checkpointer.run(stop.signal)
  const end = async (): Promise<void> => {
    stop.abort()
    await running
  }
  stack.defer(() => end())
  const owned = stack.move()
  return {
    clock,
    puts,
    /** The names of all that is in the store. */
    async objects(): Promise<string[]> {
      const { state } = await jsm.streams.info(SNAPSHOT_STREAM, { subjects_filter: '$O.mail_snapshots.M.>' })
      const subjects = Object.keys(state.subjects ?? {})
      return subjects.map((subject) =>
        Buffer.from(subject.slice('$O.mail_snapshots.M.'.length), 'base64url').toString(),
      )
    },
    /** The term ends as it stands, and the next one begins. */
    async nextTerm(): Promise<void> {
      await end()
      epoch = { ...epoch, rev: epoch.rev + 1 }
      checkpointer = await term(epoch)
      stop = new AbortController()
      running = checkpointer.run(stop.signal)
    },
    snapshots,
    store,
    publish,
    record: async () => (await checkpoints.read(USER))?.record,
    /** A checkpoint for something that has changed. */
    async checkpoint(): Promise<void> {
      const before = (await checkpoints.read(USER))?.revision
      checkpointer.changed(false)
      await until('a checkpoint is written', async () => {
        await clock.advance(1_000)
        return (await checkpoints.read(USER))?.revision !== before
      })
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

describe('snapshots', { concurrency: 3 }, () => {
  test('one that could not be put is put again by itself, and checkpoints go on', async () => {
    await using box = await snapshotterBox(1)
    box.publish('m', 600)
    await box.checkpoint()
    await until('it was tried', () => box.puts.length === 1)
    await until('it is in the record', async () => {
      await box.clock.advance(10_000)
      return (await box.record())?.snapshots.length === 1
    })
    assert.equal(box.puts.length, 2)
  })

  test('one is not taken again for a few mails, one of a store that was lost is', async () => {
    await using box = await snapshotterBox(0)
    box.publish('m', 600)
    await box.checkpoint()
    await until('it is in the record', async () => (await box.record())?.snapshots.length === 1)
    box.publish('n', 5)
    await box.checkpoint()
    await box.checkpoint()
    assert.equal(box.puts.length, 1)
    box.snapshots.createdMs = 2
    await box.checkpoint()
    await until('it was taken anew', async () => (await box.record())?.snapshots[0]?.storeCreatedMs === 2)
    assert.equal((await box.record())?.snapshots[0]?.mails, 605)
  })

  test('an object that was put by a term that ended before it was pointed to is deleted by the next one', async () => {
    await using box = await snapshotterBox(1, true)
    box.publish('m', 600)
    await box.checkpoint()
    await until('it is stored', async () => (await box.objects()).length === 1)
    await box.nextTerm()
    assert.deepEqual(await box.objects(), box.puts, 'the take-over itself costs nothing')
    box.publish('n', 5)
    await box.checkpoint()
    await until('only what counts is left', async () => {
      await box.clock.advance(10_000)
      const names = (await box.record())?.snapshots.map(({ name }) => name) ?? []
      return names.length === 1 && String(await box.objects()) === String(names)
    })
    await box.checkpoint()
    assert.deepEqual((await box.record())?.unpointed, [])
  })

  test('a generation that is dropped and could not be deleted is deleted later', async () => {
    await using box = await snapshotterBox(0)
    box.snapshots.removeFails = 2
    for (let created = 1; created <= 4; created++) {
      box.snapshots.createdMs = created
      box.publish(`m${created}`, 10)
      if (created === 1) box.publish('m', 600)
      await box.checkpoint()
      await until('it is in the record', async () => (await box.record())?.snapshots[0]?.storeCreatedMs === created)
    }
    assert.equal(new Set(box.puts).size, 4)
    await box.checkpoint()
    await box.checkpoint()
    await until('it was deleted', async () => (await box.objects()).length === 3)
    const names = (await box.record())?.snapshots.map(({ name }) => name)
    assert.deepEqual((await box.objects()).toSorted(), names?.toSorted())
  })

  test('a checkpoint says since when everything is known: in the record, in its snapshot, in the database', async () => {
    await using box = await snapshotterBox(0)
    box.publish('m', 600)
    await box.checkpoint()
    await until('it is in the record', async () => (await box.record())?.snapshots.length === 1)
    await box.clock.advance(3_600_000)
    await box.checkpoint()
    const record = await box.record()
    assert.equal(record?.snapshots[0]?.coveredS, record?.ts, 'nothing was published since the snapshot')
    await until('the database says so', () => box.store.read(USER, readMeta)?.coveredS === record?.ts)
    box.publish('n', 1)
    await box.clock.advance(3_600_000)
    await box.checkpoint()
    const later = await box.record()
    assert.equal(later?.snapshots[0]?.coveredS, record?.ts, 'there is one more now')
    assert.equal(later?.unsavedSince, later?.ts)
    assert.equal(later?.bornS !== null && later?.firstStreamMs === null, true)
  })
})

/** Rows that whoever stored them hands to the relay: published without being read, and never before what waits already. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import type { OutboxRow } from '../../../services/mail/store/outbox-rows.ts'
import { ids, OutboxBox, type RunHandle, USER } from './support.ts'

const soon = (): AbortSignal => AbortSignal.timeout(10_000)

/** A relay with nothing to do. */
async function idle(box: OutboxBox, controls: { compareHanded?: false } = {}): Promise<RunHandle> {
  const run = box.relay({ controls })
  await run.drained(soon())
  return run
}

/** Told from those in the database by what is published of them. */
const marked = (rows: readonly OutboxRow[]): OutboxRow[] =>
  rows.map((row) => ({ ...row, payload: Buffer.from(`${row.payload.toString()} `) }))

async function markedOnStream(box: OutboxBox): Promise<boolean> {
  const last = await box.link.jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(USER) })
  return last?.string().endsWith(' ') === true
}

test('rows that follow what is published are taken as they are handed over, mail after mail', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box)
  for (const prefix of ['m', 'n']) {
    run.wake(marked(box.put(prefix, 1)))
    await run.drained(soon())
    assert.equal(await markedOnStream(box), true)
  }
  assert.deepEqual([await box.scan(), run.status().pending], [[...ids('m', 1), ...ids('n', 1)], 0])
})

test('many rows that are handed over go as they would if they were read', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box)
  run.wake(box.put('m', 50))
  await run.drained(soon())
  assert.deepEqual(await box.scan(), ids('m', 50))
})

test('a row that waits goes before those that are handed over', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box)
  box.put('m', 1)
  run.wake(marked(box.put('n', 1)))
  await run.drained(soon())
  assert.deepEqual([await box.scan(), await markedOnStream(box)], [[...ids('m', 1), ...ids('n', 1)], false])
})

test('control: rows that are taken without a look at what waits overtake it', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box, { compareHanded: false })
  box.put('m', 1)
  run.wake(box.put('n', 1))
  await run.drained(soon())
  assert.deepEqual(await box.scan(), [...ids('n', 1), ...ids('m', 1)])
})

test('rows of two transactions before the turn of the relay are read, in their order', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box)
  run.wake(marked(box.put('m', 1)))
  run.wake(marked(box.put('n', 2)))
  await run.drained(soon())
  assert.deepEqual([await box.scan(), await markedOnStream(box)], [[...ids('m', 1), ...ids('n', 2)], false])
})

test('rows that come while others are on their way are read', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box)
  run.wake(box.put('m', 3))
  await new Promise(setImmediate)
  run.wake(marked(box.put('n', 1)))
  await run.drained(soon())
  assert.deepEqual([await box.scan(), await markedOnStream(box)], [[...ids('m', 3), ...ids('n', 1)], false])
})

test('rows that were handed over before a reconnect are read once the stream was read back', async () => {
  await using box = await OutboxBox.open()
  const run = await idle(box)
  run.wake(marked(box.put('m', 1)))
  run.recheck()
  await run.drained(soon())
  assert.deepEqual([await box.scan(), await markedOnStream(box)], [ids('m', 1), false])
})

test('rows that were handed over while the user was owned by nobody here are read once it is', async () => {
  await using box = await OutboxBox.open()
  let owns = true
  let asked = Promise.withResolvers<void>()
  const run = box.relay({}, () => {
    asked.resolve()
    return owns
  })
  await run.drained(soon())
  owns = false
  asked = Promise.withResolvers<void>()
  run.wake(marked(box.put('m', 1)))
  await asked.promise
  owns = true
  await run.drained(soon())
  assert.deepEqual([await box.scan(), await markedOnStream(box)], [ids('m', 1), false])
})

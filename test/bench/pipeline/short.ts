/**
 * The shortest pipeline that keeps what an event is promised: page, parse, normalise, one transaction of events, outbox rows
 * and position, publish with the expectation, mark. No queue, no ledger, no lease, no limit, no retry, no status: what it
 * takes is what the service has to be measured by.
 */
import { join } from 'node:path'
import type SqliteDatabase from 'better-sqlite3'
import { EVENT_TYPE, eventSubject } from '#shared/subjects.ts'
import type { MessageMeta } from '../../../services/mail/base/model.ts'
import { eventOf, type Ground, type Job } from './job.ts'
import { type Outgoing, publishAll, TOGETHER } from './publish.ts'
import { portionsOf } from './sources.ts'
import { openTables } from './tables.ts'

type Stored = Outgoing & { id: number }

function statements(sqlite: SqliteDatabase.Database) {
  return {
    event: sqlite.prepare(
      `INSERT INTO email_received_events VALUES (${Array(16).fill('?').join(',')}) ON CONFLICT DO NOTHING`,
    ),
    outbox: sqlite.prepare('INSERT INTO outbox (ts, subject, event_type, payload, msg_id) VALUES (?, ?, ?, ?, ?)'),
    cursor: sqlite.prepare('INSERT OR REPLACE INTO provider_sync_state VALUES (?, ?)'),
    mark: sqlite.prepare('UPDATE outbox SET published_at = ?, stream_seq = ? + id WHERE id BETWEEN ? AND ?'),
  }
}

function storer(sqlite: SqliteDatabase.Database, job: Job, subject: string) {
  const { event: insertEvent, outbox: insertOutbox, cursor: putCursor } = statements(sqlite)
  return sqlite.transaction((mails: readonly MessageMeta[], cursor: string): Stored[] => {
    const stored: Stored[] = []
    const ts = Math.floor(Date.now() / 1_000)
    for (const mail of mails) {
      const e = eventOf(job, mail, ts)
      const [to, cc, bcc] = [e.to_addrs, e.cc_addrs, e.bcc_addrs].map((list) => JSON.stringify(list))
      const { changes } = insertEvent.run(
        ...[
          e.event_id,
          e.ts,
          e.msg_date,
          e.provider,
          e.inbox_id,
          e.user_id,
          e.provider_message_id,
          e.provider_thread_id,
        ],
        ...[e.subject, e.sender, to, cc, bcc, e.snippet, JSON.stringify(e.headers), JSON.stringify(e.labels)],
      )
      if (changes === 0) continue
      const payload = Buffer.from(JSON.stringify(e))
      const { lastInsertRowid } = insertOutbox.run(ts, subject, EVENT_TYPE, payload, e.event_id)
      stored.push({ id: Number(lastInsertRowid), msgId: e.event_id, payload })
    }
    putCursor.run(job.provider, cursor)
    return stored
  })
}

/** Fetches the whole mailbox. @returns how many mails it has stored and published */
export async function syncShort(ground: Ground, job: Job): Promise<number> {
  const sqlite = openTables(join(ground.dir, `${job.user}.db`))
  const subject = eventSubject(job.user)
  const store = storer(sqlite, job, subject)
  const { mark } = statements(sqlite)
  let last = 0
  let count = 0
  let publishing = Promise.resolve()

  const publish = async (rows: readonly Stored[]): Promise<void> => {
    const [first, final] = [rows[0], rows.at(-1)]
    if (first === undefined || final === undefined) return
    const seqs = await publishAll(ground, subject, rows, last)
    last = seqs.at(-1) ?? last
    // Those of one batch, and of one writer alone, follow each other.
    mark.run(Math.floor(Date.now() / 1_000), (seqs[0] ?? 0) - first.id, first.id, final.id)
    count += rows.length
  }
  let waiting: MessageMeta[] = []
  const flush = async (cursor: string): Promise<void> => {
    const rows = store.immediate(waiting, cursor)
    waiting = []
    // One batch is on its way while the next is fetched and stored.
    await publishing
    publishing = publish(rows)
  }
  let place = 'end'
  for await (const { mails, cursor } of portionsOf(job, ground.url)) {
    place = cursor
    waiting.push(...mails)
    if (waiting.length >= TOGETHER) await flush(cursor)
  }
  await flush(place)
  await publishing
  sqlite.close()
  return count
}

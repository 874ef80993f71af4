/**
 * The books of a run, kept beside the service: how often each mail stands on the stream and who put it there, what the
 * server has taken back, and in which order each disk has stored what it published.
 */
import { EVENT_STREAM } from '#shared/subjects.ts'
import { gt, sql } from '../../services/mail/store/drizzle.ts'
import { prepareRead } from '../../services/mail/store/prepared.ts'
import { outbox } from '../../services/mail/store/schema/user.ts'
import type { UserReader } from '../../services/mail/store/user-store.ts'
import type { Broker, Stored } from './broker.ts'

const decoder = new TextDecoder()
const newRows = prepareRead((db) =>
  db
    .select({ id: outbox.id, eventId: outbox.msgId })
    .from(outbox)
    .where(gt(outbox.id, sql.placeholder('after')))
    .orderBy(outbox.id)
    .prepare(),
)

type Event = { id: string; eventId: string; user: string }

function eventOf({ subject, data }: Stored): Event {
  const { provider_message_id: id, event_id: eventId } = JSON.parse(decoder.decode(data))
  return { id, eventId, user: subject.split('.')[1] ?? '' }
}

/** Events of a disk by their place in the order of storing, and the newest row. */
type Storing = { order: Map<string, number>; lastRow: number }

export class Books {
  readonly #broker: Broker
  readonly #counts = new Map<string, Map<string, number>>()
  readonly #takenBack = new Set<string>()
  /** Disks that have ever published the event. */
  readonly #publishers = new Map<string, Set<string>>()
  readonly #stored = new Map<string, Storing>()

  constructor(broker: Broker) {
    this.#broker = broker
    broker.stream(EVENT_STREAM).watch((message) => {
      const { id, eventId, user } = eventOf(message)
      const counts = this.#countsOf(user)
      counts.set(id, (counts.get(id) ?? 0) + 1)
      const publishers = this.#publishers.get(eventId) ?? new Set()
      this.#publishers.set(eventId, publishers.add(message.by ?? ''))
    })
  }

  /** How often each mail of the user stands on the stream. */
  published(user: string): ReadonlyMap<string, number> {
    return this.#countsOf(user)
  }
  /** The server has lost it once; it may stand there again. */
  wasTakenBack(id: string): boolean {
    return this.#takenBack.has(id)
  }

  /** The server has lost these. */
  takeBack(lost: readonly Stored[]): void {
    for (const message of lost) {
      const { id, user } = eventOf(message)
      const counts = this.#countsOf(user)
      const left = (counts.get(id) ?? 0) - 1
      if (left > 0) counts.set(id, left)
      else counts.delete(id)
      this.#takenBack.add(id)
    }
  }

  /** Something was written to the user's database on that disk. */
  written(disk: string, user: string, reader: UserReader): void {
    const key = `${disk} ${user}`
    const storing = this.#stored.get(key) ?? { order: new Map(), lastRow: 0 }
    this.#stored.set(key, storing)
    for (const { id, eventId } of newRows(reader).all({ after: storing.lastRow })) {
      storing.lastRow = id
      if (!storing.order.has(eventId)) storing.order.set(eventId, storing.order.size)
    }
  }

  /**
   * Pairs of mails of the user that stand on the subject in another order than that in which the disk has stored them
   * that has published both. What was on the stream of several disks has no such order.
   */
  outOfOrder(user: string): [string, string][] {
    const found: [string, string][] = []
    const before: { id: string; disk: string; place: number }[] = []
    for (const message of this.#broker.stream(EVENT_STREAM).messages) {
      const event = eventOf(message)
      const publishers = this.#publishers.get(event.eventId)
      if (event.user !== user || publishers?.size !== 1) continue
      const disk = message.by ?? ''
      const place = this.#stored.get(`${disk} ${user}`)?.order.get(event.eventId)
      if (place === undefined) continue
      for (const other of before) if (other.disk === disk && other.place > place) found.push([other.id, event.id])
      before.push({ id: event.id, disk, place })
    }
    return found
  }

  #countsOf(user: string): Map<string, number> {
    const counts = this.#counts.get(user) ?? new Map<string, number>()
    this.#counts.set(user, counts)
    return counts
  }
}

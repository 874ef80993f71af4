/** One run: a broker, mailboxes, processes, and what befalls them, all from one seed. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accountKey, BUCKET_ACCOUNTS, BUCKET_STATE, EVENT_STREAM } from '#shared/subjects.ts'
import { type AccountRef, compareEpochs, type Epoch } from '../../services/mail/base/model.ts'
import type { CheckpointRecord } from '../../services/mail/kv/checkpoint.ts'
import { readLanes } from '../../services/mail/store/lanes.ts'
import { publishedIds } from '../../services/mail/store/messages.ts'
import { connected } from '../mail/kv/support.ts'
import { Broker } from './broker.ts'
import { Chance } from './chance.ts'
import type { Look } from './disk.ts'
import type { Objects } from './jetstream.ts'
import { Mailbox } from './mailbox.ts'
import type { Mutant } from './mutants.ts'
import { SimProcess, type Surroundings } from './process.ts'
import { Timeline } from './timeline.ts'

type Checkpoint = Pick<CheckpointRecord, 'epoch' | 'lanes'>

/** Where there are files that need no disk, there. */
const FOLDER = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const WINDOW_MS = 1_000
const encoder = new TextEncoder()
const decoder = new TextDecoder()

export class World implements Surroundings, Disposable {
  readonly timeline = new Timeline()
  readonly chance: Chance
  readonly broker: Broker
  readonly objects: Objects = new Map()
  readonly silenceMs = 6_000
  readonly mutant: Mutant | null
  readonly dir = mkdtempSync(join(FOLDER, 'mail-sim-'))
  readonly mailboxes = new Map<string, Mailbox>()
  readonly processes: SimProcess[] = []
  readonly faults: string[] = []
  /** Of the newest checkpoint of each user. */
  readonly #epochs = new Map<string, Epoch>()
  /** What has happened. */
  readonly tally = { events: 0, crashes: 0, disks: 0 }

  constructor(seed: number, mutant: Mutant | null) {
    this.chance = new Chance(seed)
    this.mutant = mutant
    this.broker = new Broker(() => this.timeline.nowMs, WINDOW_MS)
    this.broker.stream(`KV_${BUCKET_STATE}`).watch(({ data, subject, isMarker }) => {
      if (!isMarker) this.#checkpointed(subject, JSON.parse(decoder.decode(data)))
    })
  }

  [Symbol.dispose](): void {
    for (const { life } of this.processes) {
      life.onDeath = () => undefined
      life.die()
    }
    for (const each of this.processes) each.loseDisk()
    rmSync(this.dir, { recursive: true, force: true })
  }

  fail(what: string): void {
    this.faults.push(`${Math.round(this.timeline.nowMs)} ms: ${what}`)
  }

  mailboxOf(user: string): Mailbox {
    const found = this.mailboxes.get(user)
    if (found === undefined) throw new Error(`nobody has the mailbox of ${user}`)
    return found
  }

  connect(user: string, mails: number): void {
    this.mailboxes.set(user, new Mailbox(user, mails))
    const record = encoder.encode(JSON.stringify(connected()))
    this.broker
      .stream(`KV_${BUCKET_ACCOUNTS}`)
      .publish(`$KV.${BUCKET_ACCOUNTS}.${accountKey(user, 'google', 'primary')}`, record, { keepOne: true })
  }

  start(name: string): SimProcess {
    const made = new SimProcess(this, name)
    this.processes.push(made)
    return made
  }

  /** How often each mail of the user stands on the stream. */
  published(user: string): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { subject, data } of this.broker.stream(EVENT_STREAM).messages) {
      if (subject !== `user.${user}.email.received`) continue
      const { provider_message_id: id } = JSON.parse(decoder.decode(data))
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    return counts
  }

  get isComplete(): boolean {
    return [...this.mailboxes].every(([user, { ids }]) => {
      const published = this.published(user)
      return ids.every((id) => published.has(id))
    })
  }

  /** Every message of the events, with its place and time. */
  get trace(): string {
    return [...this.broker.stream(EVENT_STREAM).messages]
      .map(({ seq, atMs, data }) => `${seq} ${atMs.toFixed(3)} ${JSON.parse(decoder.decode(data)).provider_message_id}`)
      .join('\n')
  }

  /** Lost, or twice. */
  audit(): void {
    for (const [user, { ids }] of this.mailboxes) {
      const published = this.published(user)
      this.tally.events += published.size
      for (const id of ids) if (!published.has(id)) this.fail(`lost: ${id}`)
      for (const [id, count] of published) if (count > 1) this.fail(`twice: ${id}`)
    }
  }

  /** Positions on a disk have never passed mail that is neither there nor on the stream. */
  readonly lookAtDisk: Look = (user, reader) => {
    const mailbox = this.mailboxOf(user)
    const account: AccountRef = { userId: user, provider: 'google', inboxId: 'primary' }
    for (const { lane, cursor, done } of readLanes(reader, account)) {
      const ids = mailbox.passed(lane, cursor, done)
      if (ids.length === 0) continue
      const [there, published] = [publishedIds(reader, account, ids), this.published(user)]
      for (const id of ids)
        if (!there.has(id) && !published.has(id))
          this.fail(`a position on the disk at ${lane} ${cursor} has passed ${id}`)
    }
  }

  /** W4: a checkpoint never runs ahead of the stream, and what a later term has written no earlier one replaces. */
  #checkpointed(subject: string, record: Checkpoint): void {
    // The names of the users here are their own keys.
    const user = subject.slice(`$KV.${BUCKET_STATE}.`.length)
    const [published, before] = [this.published(user), this.#epochs.get(user)]
    if (before !== undefined && compareEpochs(record.epoch, before) < 0)
      this.fail(`a checkpoint of term ${record.epoch.rev} has replaced one of term ${before.rev}`)
    this.#epochs.set(user, record.epoch)
    for (const { lane, cursor, done } of Object.values(record.lanes).flat())
      for (const id of this.mailboxOf(user).passed(lane, cursor, done))
        if (!published.has(id))
          this.fail(`a checkpoint at ${lane} ${cursor} has passed ${id}, which is not on the stream`)
  }
}

/**
 * A mailbox and the provider in front of it. Position n means: after the n-th mail. The lane `history` follows what comes,
 * `enum` walks back from where `history` began, `refill` does so once more; a position of theirs also names the walk.
 */
import { isAudit, isRewalk, type MessageMeta } from '../../services/mail/base/model.ts'
import {
  emptyPage,
  type MailProvider,
  type Page,
  type PageRequest,
  ProviderError,
} from '../../services/mail/provider/provider.ts'
import { mail } from '../mail/store/support.ts'
import type { Chance } from './chance.ts'
import { type Life, never } from './life.ts'
import type { Timeline } from './timeline.ts'

const PER_PAGE = 3
const DELAY_MAX_MS = 40

export class Mailbox {
  readonly name: string
  count: number
  /** Positions up to here are forgotten. */
  forgotten = 0
  /** Counts how often all positions of walks were forgotten. */
  #walks = 0
  /** Part of the calls that fail. */
  faults = 0

  constructor(name: string, count: number) {
    this.name = name
    this.count = count
  }

  get walks(): number {
    return this.#walks
  }
  /** The provider forgets positions, as it does after a week. */
  expire(): void {
    this.forgotten = this.count
    this.#walks += 1
  }

  idOf = (at: number): string => `${this.name}-${String(at).padStart(4, '0')}`
  get ids(): string[] {
    return Array.from({ length: this.count }, (_, at) => this.idOf(at))
  }

  /** Ids that a position says have been dealt with. */
  passed(lane: string, cursor: string | null, done: boolean): string[] {
    if (cursor === null || isRewalk(lane)) return []
    const [from = 0, to = 0] = cursor.split(':').map(Number)
    if (lane === 'history') return this.ids.slice(from, to)
    return this.ids.slice(done ? 0 : to, from)
  }
}

/** The adapter of one process. */
export function providerOf(mailbox: Mailbox, timeline: Timeline, chance: Chance, life: Life): MailProvider {
  const wait = (signal: AbortSignal): Promise<void> => {
    if (!life.passes()) return never()
    return new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const takeBack = timeline.after(chance.unit() * DELAY_MAX_MS, () => life.enter(resolve))
      const onAbort = (): void => {
        takeBack()
        if (!life.isDead) reject(signal.reason)
      }
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }
  const messagesOf = (request: PageRequest, ids: readonly string[]): MessageMeta[] => {
    const known = request.known(ids)
    return ids.filter((id) => !known.has(id)).map((id) => mail(id))
  }
  /** Cursor `from:to`: where it began, and how far it has come. */
  const history = (request: PageRequest): Page => {
    const { cursor } = request
    if (cursor === null) {
      const end = mailbox.count
      const lanes = [
        { lane: 'history', cursor: `${end}:${end}`, done: true },
        { lane: 'enum', cursor: null, done: false },
      ]
      return { ...emptyPage(), lanes }
    }
    const [from = 0, at = 0] = cursor.split(':').map(Number)
    if (at < mailbox.forgotten) throw new ProviderError('gone', { operation: 'sim.history', status: 404 })
    const to = Math.min(mailbox.count, at + PER_PAGE)
    const ids = mailbox.ids.slice(at, to)
    const lanes = [{ lane: 'history', cursor: `${from}:${to}`, done: true }]
    return { ...emptyPage(), messages: messagesOf(request, ids), lanes, more: to < mailbox.count }
  }
  const walk = (request: PageRequest): Page => {
    const { count, walks } = mailbox
    const [from, at, walk] = (request.cursor ?? `${count}:${count}:${walks}`).split(':').map(Number) as [
      number,
      number,
      number,
    ]
    if (walk !== walks) throw new ProviderError('gone', { operation: 'sim.walk', status: 400 })
    const to = Math.max(0, at - PER_PAGE)
    const ids = mailbox.ids.slice(to, at).toReversed()
    const page = { ...emptyPage(), messages: messagesOf(request, ids), more: to > 0 }
    if (to === 0 && isAudit(request.lane)) return { ...page, dropLanes: [request.lane] }
    return { ...page, lanes: [{ lane: request.lane, cursor: `${from}:${to}:${walks}`, done: to === 0 }] }
  }
  return {
    name: 'google',
    firstLane: 'history',
    polled: (lane) => lane === 'history',
    keepsPositions: true,
    takes: () => 0,
    refillLanes: () => ['refill'],
    auditLanes: () => ['audit'],
    identify: async () => ({ mailbox: 'ada@x', address: 'ada@x', totalEstimate: null }),
    look: async () => ({ is: 'mail' }),
    page: (request, call) =>
      call.limiter.run(1, call.priority, call.signal, async (signal) => {
        await wait(signal)
        if (chance.is(mailbox.faults)) throw new ProviderError('transient', { operation: 'sim', status: 503 })
        return request.lane === 'history' ? history(request) : walk(request)
      }),
  }
}

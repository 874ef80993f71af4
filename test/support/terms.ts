/**
 * Who owned whom until when, as the instances themselves believe: out of their debug logs, whose times are of one
 * monotonic clock when all run on one machine. A term counts from the moment its lease was won to the moment the user
 * was let go, but never past the deadline that the session had at the time. It judges nothing but overlaps.
 */
import * as v from 'valibot'

type Span = { fromMs: number; untilMs: number }
type Owned = Span & { user: string; source: string; sid: string }
export type Overlap = { user: string; instances: [string, string]; ms: number }

const Line = v.variant('msg', [
  v.object({
    msg: v.literal('term extended'),
    sid: v.string(),
    nowMs: v.number(),
    validUntilMs: v.nullable(v.number()),
  }),
  v.object({
    msg: v.literal('user owned'),
    user: v.string(),
    sid: v.string(),
    epoch: v.object({ era: v.number(), rev: v.number() }),
    nowMs: v.number(),
  }),
  v.object({
    msg: v.literal('user let go'),
    user: v.string(),
    epoch: v.object({ era: v.number(), rev: v.number() }),
    nowMs: v.number(),
  }),
])

export class Terms {
  /** Per session, when its deadline was moved and where to. */
  readonly #extended = new Map<string, Span[]>()
  readonly #owned = new Map<string, Owned>()

  /** Takes in one line of the log of a process; lines about anything else are passed over. */
  read(source: string, text: string): void {
    const parsed = text.includes('nowMs') ? v.safeParse(Line, JSON.parse(text)) : null
    if (parsed === null || !parsed.success) return
    const line = parsed.output
    if (line.msg === 'term extended') {
      // JSON has no infinity.
      const span = { fromMs: line.nowMs, untilMs: line.validUntilMs ?? Number.POSITIVE_INFINITY }
      this.#extended.set(line.sid, [...(this.#extended.get(line.sid) ?? []), span])
      return
    }
    const key = `${source} ${line.user} ${line.epoch.era}.${line.epoch.rev}`
    if (line.msg === 'user owned') {
      const { user, sid, nowMs: fromMs } = line
      this.#owned.set(key, { user, source, sid, fromMs, untilMs: Number.POSITIVE_INFINITY })
      return
    }
    const term = this.#owned.get(key)
    if (term !== undefined) term.untilMs = line.nowMs
  }

  /** Terms of users that were seen to begin. */
  get count(): number {
    return this.#owned.size
  }

  /** Pairs of terms of one user that were believed in at the same time. */
  overlaps(): Overlap[] {
    const found: Overlap[] = []
    for (const terms of Map.groupBy(this.#owned.values(), ({ user }) => user).values())
      for (const [i, one] of terms.entries())
        for (const other of terms.slice(i + 1)) {
          const ms = this.#sharedMs(one, other)
          if (ms > 0) found.push({ user: one.user, instances: [one.source, other.source], ms })
        }
    return found
  }

  #sharedMs(one: Owned, other: Owned): number {
    let ms = 0
    for (const a of this.#believed(one)) for (const b of this.#believed(other)) ms += lengthOf(common(a, b))
    return ms
  }

  /** When the term was trusted: spans in order, none of them over another. */
  #believed(term: Owned): Span[] {
    const spans: Span[] = []
    for (const span of this.#extended.get(term.sid) ?? []) {
      const last = spans.at(-1)
      if (last !== undefined && span.fromMs <= last.untilMs) last.untilMs = Math.max(last.untilMs, span.untilMs)
      else spans.push({ ...span })
    }
    return spans.map((span) => common(span, term)).filter((span) => lengthOf(span) > 0)
  }
}

const common = (a: Span, b: Span): Span => ({
  fromMs: Math.max(a.fromMs, b.fromMs),
  untilMs: Math.min(a.untilMs, b.untilMs),
})
const lengthOf = ({ fromMs, untilMs }: Span): number => Math.max(0, untilMs - fromMs)

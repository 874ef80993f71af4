/**
 * Gets many messages: in batches where the provider has them, otherwise one by one. Pace, parallelism and size are the
 * limiter's. What an answer means is not judged here, but for one thing: who meets a refusal of the whole account stops.
 */
import { type Call, ProviderError } from './provider.ts'

export type Answer = PromiseSettledResult<unknown>

/** How messages are asked for. */
export type Getter = {
  /** Of one message at the limiter. */
  cost: number
  get(id: string): Promise<unknown>
  /**
   * Several in one request; each settles as `get` would. null = not in this way.
   * @throws ProviderError when there is no answer about any of them; it is never about one of them
   */
  batch?(ids: readonly string[]): Promise<Map<string, Answer> | null>
  /** Whether to ask for another batch of the take, from this message on, when so many were asked for. Without it all are. */
  goesOn?(asked: number, next: string): boolean
}

export const isThrottled = (error: unknown): error is ProviderError =>
  error instanceof ProviderError && error.kind === 'throttled'
/** The rest of the take would meet it as well: those still waiting for a turn give it up. */
export const isAccountWide = (error: unknown): error is ProviderError =>
  isThrottled(error) || (error instanceof ProviderError && error.kind === 'auth')

export type Answers = {
  /** In the order of the ids; those that were not asked for have none. */
  answers: [id: string, answer: Answer][]
  /** A batch without an answer ended the take; its messages have this error as theirs. */
  cutOff?: unknown
}

/**
 * Asks for each of the ids once.
 * @param retried ids that were asked for before in vain: each is asked for alone, in case it spoils a whole batch
 * @throws the reason of the call's signal
 */
export async function getMessages(
  getter: Getter,
  ids: readonly string[],
  retried: ReadonlySet<string>,
  call: Call,
): Promise<Answers> {
  const { limiter, priority, signal } = call
  const waiting = new AbortController()
  const stopWaiting = () => waiting.abort(signal.reason)
  signal.addEventListener('abort', stopWaiting, { once: true })
  if (signal.aborted) stopWaiting()
  const answers = new Map<string, Answer>()
  let cutOff: unknown

  /** A request under way is paid for already: it is bound to the call's signal, not to that of the turn. */
  const turn = async <T>(messages: number, request: () => Promise<T>): Promise<T> => {
    try {
      return await limiter.run(getter.cost * messages, priority, waiting.signal, request)
    } catch (error) {
      if (isAccountWide(error)) waiting.abort(error)
      throw error
    }
  }
  const singly = async (some: readonly string[]): Promise<void> => {
    await Promise.all(
      some.map(async (id) => {
        const [answer] = await Promise.allSettled([turn(1, () => getter.get(id))])
        answers.set(id, answer)
      }),
    )
  }
  const together = async (some: readonly string[], batch: NonNullable<Getter['batch']>): Promise<void> => {
    const [asked] = await Promise.allSettled([
      turn(some.length, async () => {
        const came = await batch(some)
        for (const [id, answer] of came ?? []) answers.set(id, answer)
        // For the limiter: an announced pause holds from here on, whichever message it was told with.
        const refused = [...(came?.values() ?? [])].flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
        const throttled = refused.filter(isThrottled)
        for (const { facts } of throttled) limiter.refused(facts)
        const worst = throttled[0] ?? refused.find(isAccountWide)
        if (worst !== undefined) throw worst
        return came !== null
      }),
    ])
    if (asked.status === 'fulfilled') return asked.value ? undefined : await singly(some)
    const open = some.filter((id) => !answers.has(id))
    for (const id of open) answers.set(id, asked)
    if (open.length > 0 && !isAccountWide(asked.reason)) cutOff = asked.reason
  }

  const { batch } = getter
  const isAlone = (id: string): boolean => batch === undefined || retried.has(id)
  /** One after the other: what a provider counts as too many at once are messages, not requests. */
  const inBatches = async (): Promise<void> => {
    if (batch === undefined) return
    const all = ids.filter((id) => !isAlone(id))
    for (let rest = all; rest.length > 0 && cutOff === undefined; ) {
      const [next = ''] = rest
      if (rest !== all && getter.goesOn?.(all.length - rest.length, next) === false) return
      const some = rest.slice(0, limiter.batchSize(getter.cost, priority))
      rest = rest.slice(some.length)
      await (some.length === 1 ? singly(some) : together(some, batch))
    }
  }
  // The first batch before those that failed before: new mail is in it.
  await Promise.all([inBatches(), singly(ids.filter(isAlone))])
  signal.removeEventListener('abort', stopWaiting)
  signal.throwIfAborted()
  const inOrder = ids.flatMap((id): [string, Answer][] => {
    const answer = answers.get(id)
    return answer === undefined ? [] : [[id, answer]]
  })
  return { answers: inOrder, cutOff }
}

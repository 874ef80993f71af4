/** Target 8: what many small mailboxes feel of a large one that is backfilled beside them by the same instance. */
import { setTimeout as sleep } from 'node:timers/promises'
import { EVENT_SUBJECT_ALL, eventSubject } from '#shared/subjects.ts'
import type { Figure } from '../kit/figure.ts'
import { NO_QUOTA } from '../kit/no-quota.ts'
import type { BenchOptions } from '../kit/options.ts'
import { interleave } from '../kit/rounds.ts'
import { median, oddAgainstEven, quotients } from '../kit/statistics.ts'
import { orStopped } from '../kit/stop.ts'
import { BenchProvider } from '../provider/provider.ts'
import { type Connected, credentialsOf, writeAccounts } from './accounts.ts'
import { World } from './world.ts'

const FULL = { users: 99, mails: 1_000, large: 1_000_000, rounds: 7 }
const QUICK = { users: 9, mails: 100, large: 5_000, rounds: 2 }
const DEADLINE_MS = 1_800_000
/** What is left of a round has ended before the next begins. */
const PAUSE_MS = 500

export async function measure(options: BenchOptions): Promise<Figure[]> {
  const { quick, signal, say } = options
  const { users, mails, large, rounds } = quick ? QUICK : FULL
  await using provider = await BenchProvider.start(signal)
  const small = Array.from({ length: users }, (_, i): Connected => mailbox(`small${i}`, mails))
  const arm = (name: string, others: readonly Connected[]) => ({
    name,
    run: async (round: number): Promise<number> => {
      const tookMs = await smallOnesDone(provider, [...others, ...small], small, mails, signal)
      say(`fairness: round ${round + 1}, ${name}: ${(tookMs / 1_000).toFixed(1)} s`)
      await sleep(PAUSE_MS, undefined, { signal })
      return tookMs
    },
  })
  const arms = [arm('alone', []), arm('beside a large one', [mailbox('large', large)])]
  const [alone = [], beside = []] = (await interleave(arms, rounds, signal)).values()
  const seconds = (times: readonly number[]): string => `${(median(times) / 1_000).toFixed(1)} s`
  const note = `${users} of ${mails} mails beside one of ${large}; ${seconds(beside)}, alone ${seconds(alone)}`
  const ratios = quotients(beside, alone)
  const of = { target: 8, unit: 'of alone' }
  return [
    { ...of, name: 'small ones beside a large one', value: median(ratios), max: 1.2, rounds: ratios, note },
    { ...of, name: 'small ones alone, A/A: odd against even rounds', value: oddAgainstEven(alone) },
  ]
}

const mailbox = (userId: string, mails: number): Connected => ({
  userId,
  provider: 'google',
  credentials: credentialsOf(userId, mails),
})

/** From exec of an instance until all mail of the small ones is on the stream, ms. */
async function smallOnesDone(
  provider: BenchProvider,
  users: readonly Connected[],
  small: readonly Connected[],
  mails: number,
  signal: AbortSignal,
): Promise<number> {
  await using world = await World.start({ env: { ...NO_QUOTA, ...provider.env } })
  await orStopped(writeAccounts(world.box, world.nc, users), signal)
  const left = new Map(small.map(({ userId }) => [eventSubject(userId), mails]))
  const done = Promise.withResolvers<number>()
  const subscription = world.nc.subscribe(EVENT_SUBJECT_ALL, {
    callback: (_error, { subject }) => {
      const count = left.get(subject)
      if (count === undefined) return
      if (count > 1) left.set(subject, count - 1)
      else left.delete(subject)
      if (left.size === 0) done.resolve(performance.now())
    },
  })
  const { spawnedMs } = (await world.spawn('a')).process
  const doneMs = await orStopped(done.promise, AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]))
  subscription.unsubscribe()
  return doneMs - spawnedMs
}

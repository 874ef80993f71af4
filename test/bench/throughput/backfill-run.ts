/** One mailbox fetched whole by one of those who are compared, and what that took. */
import type { ProviderName } from '#shared/subjects.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import { type Usage, usageOf } from '../kit/usage.ts'
import { tokenOf } from '../provider/mailbox.ts'
import type { Pipeline, Stage } from './stage.ts'

/** Who fetches: a process, and how it is told to. `begin` may answer before all of it is fetched. */
export type Contender = { pid: number; begin(user: string, provider: ProviderName, mails: number): Promise<unknown> }

export const theService = (stage: Stage, { pid }: InstanceProcess): Contender => ({
  pid,
  begin: (user, provider, mails) => stage.connectMailbox(user, provider, mails),
})

export const thePipeline = (pipeline: Pipeline, what: 'short' | 'naive'): Contender => ({
  pid: pipeline.pid,
  begin: (user, provider, mails) => pipeline.ask({ what, job: { user, provider, token: tokenOf({ user, mails }) } }),
})

export type Process = 'own' | 'broker' | 'provider'
export type Backfill = Usage<Process> & { mails: number; requests: number }

/** Mails per second. */
export const rateOf = ({ mails, wallMs }: Backfill): number => mails / (wallMs / 1_000)
/** Microseconds of one process for each mail. */
export const costOf = ({ mails, cpuMs }: Backfill, of: Process): number => (cpuMs[of] * 1_000) / mails

/** Longer than the service waits before it writes down how far it has come. */
const TRAILING_MS = 1_200

/** Lets each fetch so many mails that are not measured, and waits until nobody has anything left to do. */
export async function warmUp(
  stage: Stage,
  provider: ProviderName,
  contenders: readonly (readonly [Contender, number])[],
): Promise<void> {
  for (const [i, [contender, mails]] of contenders.entries()) {
    const before = await stage.events()
    await Promise.all([contender.begin(`warm-${i}`, provider, mails), stage.reached(before + mails)])
  }
  await stage.quiet(TRAILING_MS)
}

/**
 * Time from the order to fetch until the last event stands on the stream, seen by the same eye for everybody; processor time
 * until nobody has anything left to do: marks, checkpoints and copies are work for these mails, too.
 */
export async function backfill(
  stage: Stage,
  contender: Contender,
  mailbox: { user: string; provider: ProviderName; mails: number },
  signal: AbortSignal,
): Promise<Backfill> {
  const { user, provider, mails } = mailbox
  const pids = { own: contender.pid, broker: stage.nats.pid, provider: stage.provider.pid }
  const [before, asked] = [await stage.events(), await requestsOf(stage, signal)]
  const used = usageOf(pids)
  const fetching = contender.begin(user, provider, mails)
  const [{ wallMs }] = await Promise.all([stage.reached(before + mails).then(used), fetching])
  await stage.quiet(TRAILING_MS)
  return { wallMs, cpuMs: used().cpuMs, mails, requests: (await requestsOf(stage, signal)) - asked }
}

const requestsOf = async (stage: Stage, signal: AbortSignal): Promise<number> =>
  Object.values(await stage.provider.requests(signal)).reduce((sum, count) => sum + count, 0)

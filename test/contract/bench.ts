/** One mailbox on the simulator with an adapter and its driver, and the judge of what ended up stored. */
import assert from 'node:assert/strict'
import { createHttp, type Http } from '../../services/mail/base/http.ts'
import type { MailProvider, ProviderErrorKind } from '../../services/mail/provider/provider.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from '../simulator/simulator.ts'
import type { Fault, MailboxSpec, ProviderName } from '../simulator/types.ts'
import { createDriver, type Driver } from './page-driver.ts'

export type Subject = {
  provider: ProviderName
  make(sim: Simulator, http: Http): MailProvider
  /** Routes that list, and how many pages lie before their first request. */
  listRoutes: readonly string[]
  getRoute: string
  /** Mail that lands where it is no event, as `deliver` takes it. */
  hidden: { labels?: readonly string[]; folder?: string }
  expire: readonly Fault[]
  /** Extra faults of this provider, and what each is. */
  faults: readonly (readonly [Fault, ProviderErrorKind])[]
  /** Makes the first pass of a driver fetch messages one by one. */
  forceGets: readonly Fault[]
}

export const USER = 'ada'

export type Bench = AsyncDisposable & { sim: Simulator; driver: Driver; http: Http }

/** @param n seeded mails. */
export async function bench(
  subject: Pick<Subject, 'provider' | 'make'>,
  n: number,
  options: SimulatorOptions & { deadlineMs?: number; mix?: MailboxSpec['mix'] } = {},
): Promise<Bench> {
  await using stack = new AsyncDisposableStack()
  const sim = stack.use(await startSimulator(options))
  const http = stack.use(createHttp({ deadlineMs: options.deadlineMs ?? 10_000 }))
  const { access_token } = sim.addMailbox({
    user: USER,
    provider: subject.provider,
    n,
    ...(options.mix && { mix: options.mix }),
  })
  const driver = createDriver(() => subject.make(sim, http), access_token)
  const owned = stack.move()
  return { sim, driver, http, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** Everything that must be there is, nothing that must not be, nothing twice, and nobody was asked for what is not there. */
export function assertTruth(sim: Simulator, driver: Driver, provider: ProviderName): void {
  const { must, mustNot } = sim.truth(USER, provider)
  const ids = driver.emitted.map(({ id }) => id)
  const have = new Set(ids)
  assert.deepEqual(
    must.filter((id) => !have.has(id)),
    [],
    'lost',
  )
  assert.deepEqual(
    mustNot.filter((id) => have.has(id)),
    [],
    'not to be emitted',
  )
  assert.equal(ids.length, have.size, 'emitted twice')
  assert.deepEqual(
    sim.log().filter((entry) => entry.unexpected),
    [],
  )
}

export const rejection = async (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => assert.fail('a page came'),
    (error: unknown) => error,
  )

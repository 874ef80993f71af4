/**
 * why and quarantine: the owner's word and nobody else's, because only the owner may open the user's database. Whoever is
 * asked passes the question on to the owner.
 */
import { requestInspection } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import { INSPECT, type Inspections } from '#shared/inspect.ts'
import type { NatsConnection } from '#shared/nats.ts'
import type { InspectionName } from '#shared/subjects.ts'
import { uuidV7 } from '#shared/uuid.ts'
import type { Clock } from '../base/time.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { ControlPorts } from './ports.ts'

/** How long a user may be between two owners, or without one since a connect. */
const OWNED_WITHIN_MS = 3_000
const RETRY_MS = 100
/** What is left of the client's deadline for the way back. */
const MARGIN_MS = 1_000

export type InspectDeps = {
  nc: NatsConnection
  ports: Pick<ControlPorts, 'inspect' | 'otherOwner'>
  accounts: Pick<Accounts, 'needsOwner'>
  clock: Clock
}

/** @throws AppError NO_OWNER, TIMEOUT, and what the owner answers; the signal's reason */
export async function inspect<N extends InspectionName>(
  name: N,
  userId: string,
  request: Inspections[N]['request'],
  deps: InspectDeps,
  signal: AbortSignal,
): Promise<Inspections[N]['reply']> {
  const { ports, accounts, clock } = deps
  const startedMs = clock.monoMs()
  for (;;) {
    const own = await ports.inspect(name, userId, request)
    if (own !== null) return own
    const leftMs = INSPECT[name].timeoutMs - MARGIN_MS - (clock.monoMs() - startedMs)
    const reply = await askOwner(name, userId, request, leftMs, deps)
    if (reply !== null) return reply
    const isLate = clock.monoMs() - startedMs >= OWNED_WITHIN_MS
    if (isLate || !accounts.needsOwner(userId)) throw new AppError('NO_OWNER')
    await clock.sleep(RETRY_MS, signal)
  }
}

/** Null when nobody is the owner, or who is thought to be it is not. */
async function askOwner<N extends InspectionName>(
  name: N,
  userId: string,
  request: Inspections[N]['request'],
  timeoutMs: number,
  { nc, ports }: InspectDeps,
): Promise<Inspections[N]['reply'] | null> {
  const at = ports.otherOwner(userId)
  if (at === null) return null
  try {
    return await requestInspection(nc, name, {
      at,
      asUser: userId,
      body: request,
      requestId: uuidV7(),
      timeoutMs,
    })
  } catch (error) {
    // Nobody at its address: it has gone a moment ago.
    if (error instanceof AppError && (error.code === 'NO_OWNER' || error.code === 'NO_INSTANCE')) return null
    throw error
  }
}

/**
 * What this instance knows as the owner; answers `mail.at.<address>.*` of the others.
 * @throws AppError NO_OWNER when it is not, or not any more
 */
export async function ownerInspect<N extends InspectionName>(
  name: N,
  userId: string,
  request: Inspections[N]['request'],
  ports: Pick<ControlPorts, 'inspect'>,
): Promise<Inspections[N]['reply']> {
  const own = await ports.inspect(name, userId, request)
  if (own === null) throw new AppError('NO_OWNER')
  return own
}

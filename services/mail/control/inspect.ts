/**
 * why and quarantine: the owner's word and nobody else's, because only the owner may open the user's database. Whoever is
 * asked passes the question on to the owner, once.
 */
import { v7 } from 'uuid'
import { requestInspection } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import { INSPECT, type Inspections } from '#shared/inspect.ts'
import type { NatsConnection } from '#shared/nats.ts'
import type { InspectionName } from '#shared/subjects.ts'
import type { ControlPorts } from './ports.ts'

/** What is left of the client's deadline for the two instances' own work. */
const MARGIN_MS = 2_000

export type InspectDeps = { nc: NatsConnection; ports: Pick<ControlPorts, 'inspect' | 'ownerAddress'> }

/** @throws AppError NO_OWNER, TIMEOUT, and what the owner answers */
export async function inspect<N extends InspectionName>(
  name: N,
  userId: string,
  request: Inspections[N]['request'],
  { nc, ports }: InspectDeps,
): Promise<Inspections[N]['reply']> {
  const own = await ports.inspect(name, userId, request)
  if (own !== null) return own
  const at = ports.ownerAddress(userId)
  if (at === null) throw new AppError('NO_OWNER')
  const timeoutMs = INSPECT[name].timeoutMs - MARGIN_MS
  try {
    return await requestInspection(nc, name, { at, asUser: userId, body: request, requestId: v7(), timeoutMs })
  } catch (error) {
    // The owner has gone a moment ago: other instances are there.
    if (error instanceof AppError && error.code === 'NO_INSTANCE') throw new AppError('NO_OWNER', {}, { cause: error })
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
  ports: InspectDeps['ports'],
): Promise<Inspections[N]['reply']> {
  const own = await ports.inspect(name, userId, request)
  if (own === null) throw new AppError('NO_OWNER')
  return own
}

/**
 * The live question: one request to the provider about one message, through the limiter, token and adapter of the account's
 * worker. It moves nothing, retries nothing and marks no account.
 */
import type { AccountErrorCode } from '#shared/errors.ts'
import { type Look, ProviderError } from '../provider/provider.ts'
import { newLane } from '../sync/commit-page.ts'
import { judge } from '../sync/judge.ts'
import { withToken } from '../sync/run-lane.ts'
import type { LaneHost } from '../sync/worker-deps.ts'

export type Unanswered = {
  is: 'unanswered'
  /** A code of `last_error`; null = the mailbox is not connected. */
  code: string | null
  status: number | null
  providerCode: string | null
}

export async function askProvider(worker: LaneHost, id: string, signal: AbortSignal): Promise<Look | Unanswered> {
  const { deps, state } = worker
  const request = { cursorOf: (lane: string) => state.lanes.get(lane)?.cursor }
  try {
    return await withToken(worker, signal, (call) => deps.provider.look(id, request, { ...call, priority: 'connect' }))
  } catch (error) {
    const facts = error instanceof ProviderError ? error.facts : null
    deps.log.debug({ err: error }, 'the provider did not say where a message is')
    return {
      is: 'unanswered',
      code: signal.aborted ? lateCode(worker) : judge(error, newLane(''), worker.nowMs(), false, 0).code,
      status: facts?.status ?? null,
      providerCode: facts?.code ?? null,
    }
  }
}

/** The deadline has passed: in an announced pause nobody is asked. */
const lateCode = ({ deps, state }: LaneHost): AccountErrorCode =>
  state.throttledUntilMs > deps.clock.wallMs() ? 'THROTTLED' : 'PROVIDER_DOWN'

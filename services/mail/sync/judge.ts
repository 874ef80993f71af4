/** What a fault means for the account: pure. The worker carries the verdict out. */
import { type AccountErrorCode, AppError } from '#shared/errors.ts'
import { isNatsFault } from '#shared/nats.ts'
import { delayMs, PROVIDER_BACKOFF } from '../base/backoff.ts'
import type { LaneState } from '../base/model.ts'
import { RevisionConflict } from '../kv/account-record.ts'
import { ProviderError } from '../provider/provider.ts'
import { DiskError } from '../store/disk-errors.ts'
import { GrantError } from '../token/grant-error.ts'
import { KeyUnavailableError } from '../token/seal.ts'
import { THROTTLE_MIN_MS } from './limiter.ts'

export type Verdict =
  /** The lane waits and is asked again. */
  | { do: 'retry'; code: AccountErrorCode; delayMs: number }
  /** The whole mailbox waits, as the provider announced. */
  | { do: 'throttle'; code: AccountErrorCode; delayMs: number; scope: 'mailbox' | 'project' }
  /** The lane starts over; what is stored stays silent. */
  | { do: 'restart'; code: AccountErrorCode; delayMs: number; cursor: string | null }
  /** The user must sign in again. */
  | { do: 'reauth'; code: AccountErrorCode }
  /** Only the operator can help. */
  | { do: 'pause'; code: AccountErrorCode }

const REFUSED_MIN_MS = 60_000
const DISK_PROBE_MS = 2_000
const NATS_RETRY_MS = 2_000
const RESET_WINDOW_MS = 3_600_000
/** How long a lane waits that had to be started over twice. */
const RESET_WAIT_MS = 600_000

/** @param shared others have connected the same mailbox @param random in [0, 1) */
export function judge(error: unknown, lane: LaneState, nowMs: number, shared: boolean, random: number): Verdict {
  const backoffMs = delayMs(lane.failures + 1, PROVIDER_BACKOFF, random)
  if (error instanceof ProviderError) return judgeProvider(error, lane, nowMs, shared, backoffMs, random)
  if (error instanceof GrantError) {
    if (error.kind === 'reauth') return { do: 'reauth', code: 'AUTH_EXPIRED' }
    if (error.kind === 'config')
      return { do: 'retry', code: 'PROVIDER_NOT_CONFIGURED', delayMs: Math.max(REFUSED_MIN_MS, backoffMs) }
    return { do: 'retry', code: 'PROVIDER_DOWN', delayMs: Math.max(backoffMs, error.retryAfterMs ?? 0) }
  }
  if (error instanceof KeyUnavailableError) return { do: 'pause', code: 'KEY_UNAVAILABLE' }
  if (error instanceof DiskError) return { do: 'retry', code: 'DISK_FULL', delayMs: DISK_PROBE_MS }
  // Our own records in KV: it is not the provider that fails, and a moment later it works.
  if (error instanceof RevisionConflict || isNatsFault(error))
    return { do: 'retry', code: 'NATS_UNAVAILABLE', delayMs: NATS_RETRY_MS }
  const code = error instanceof AppError ? error.code : 'INTERNAL'
  return { do: 'retry', code, delayMs: Math.max(REFUSED_MIN_MS, backoffMs) }
}

function judgeProvider(
  error: ProviderError,
  lane: LaneState,
  nowMs: number,
  shared: boolean,
  backoffMs: number,
  random: number,
): Verdict {
  switch (error.kind) {
    case 'auth':
      return { do: 'reauth', code: error.facts.code === 'WRONG_MAILBOX' ? 'WRONG_MAILBOX' : 'AUTH_EXPIRED' }
    case 'gone':
      return {
        do: 'restart',
        code: shared && again(lane, nowMs) ? 'SHARED_MAILBOX' : 'CURSOR_EXPIRED',
        delayMs: again(lane, nowMs) ? RESET_WAIT_MS : 0,
        cursor: error.facts.restartCursor ?? null,
      }
    case 'throttled': {
      const announcedMs = Math.max(THROTTLE_MIN_MS, error.facts.retryAfterMs ?? 0)
      return {
        do: 'throttle',
        code: 'THROTTLED',
        delayMs: Math.ceil(announcedMs * (1 + random / 10)),
        scope: error.facts.scope ?? 'mailbox',
      }
    }
    case 'transient':
      return { do: 'retry', code: 'PROVIDER_DOWN', delayMs: backoffMs }
    case 'rejected':
      return { do: 'retry', code: 'PROVIDER_REFUSED', delayMs: Math.max(REFUSED_MIN_MS, backoffMs) }
    default:
      return error.kind satisfies never
  }
}

/** The provider forgot this lane already within the hour: walking it again at once would only go round in circles. */
const again = (lane: LaneState, nowMs: number): boolean => lane.resets > 0 && nowMs - lane.resetMs < RESET_WINDOW_MS

/**
 * A lane that an earlier owner had to start over may be started over again, and waits no longer for it: every take-over can
 * cost one walk.
 */
export const takenOver = (lane: LaneState): LaneState => ({
  ...lane,
  notBeforeMs: lane.notBeforeMs === lane.resetMs + RESET_WAIT_MS ? 0 : lane.notBeforeMs,
  resetMs: 0,
})

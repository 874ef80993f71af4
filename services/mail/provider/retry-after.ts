/**
 * How long a provider asks to wait. Measured between two times of the provider's own clock where it tells its own, because
 * ours may be wrong: one would come back too early or never. It decides nothing about who waits.
 */
import { systemClock } from '../base/time.ts'

const ISO_IN_TEXT = /\bretry after (\d{4}-\d\d-\d\dT[\d:.]+Z)/i
/** A wait that only our own clock measured is not believed beyond this. */
const BY_OUR_CLOCK_MAX_MS = 3_600_000

/**
 * @param message text of the provider's error; Gmail names the time there instead of in a header.
 * @param nowMs our own time, for an answer without `Date`.
 * @returns milliseconds ≥ 0, or undefined when nothing (usable) was announced.
 */
export function retryAfterMs(
  headers: Pick<Headers, 'get'>,
  message = '',
  nowMs = systemClock.wallMs(),
): number | undefined {
  const header = headers.get('retry-after')?.trim() ?? ''
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000
  const untilMs = Date.parse(header !== '' ? header : (ISO_IN_TEXT.exec(message)?.[1] ?? ''))
  if (!Number.isFinite(untilMs)) return undefined
  const sentMs = Date.parse(headers.get('date') ?? '')
  if (Number.isFinite(sentMs)) return Math.max(0, untilMs - sentMs)
  // Past by our clock alone says nothing: the caller's own backoff is more careful than "now".
  return untilMs > nowMs ? Math.min(untilMs - nowMs, BY_OUR_CLOCK_MAX_MS) : undefined
}

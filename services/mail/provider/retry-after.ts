/**
 * How long a provider asks to wait. Measured between two times of the provider's own clock, never against ours: a
 * machine whose clock is wrong would otherwise come back too early or never. It decides nothing about who waits.
 */

const ISO_IN_TEXT = /\bretry after (\d{4}-\d\d-\d\dT[\d:.]+Z)/i

/**
 * @param message text of the provider's error; Gmail names the time there instead of in a header.
 * @returns milliseconds ≥ 0, or undefined when nothing (usable) was announced.
 */
export function retryAfterMs(headers: Headers, message = ''): number | undefined {
  const header = headers.get('retry-after')?.trim() ?? ''
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000
  const until = Date.parse(header !== '' ? header : (ISO_IN_TEXT.exec(message)?.[1] ?? ''))
  const waitMs = until - Date.parse(headers.get('date') ?? '')
  return Number.isFinite(waitMs) ? Math.max(0, waitMs) : undefined
}

/**
 * The log lines about refused requests. Details of a request that was refused for what it says are not logged: they name
 * the caller's own keys, and one of these may be a token.
 */
import type { AppError, ErrorCode } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'

/** Of each expected code one line in this time: polling clients must not fill the disk while nobody answers. */
const EVERY_MS = 1_000

export type Refusals = { tell(error: AppError, requestId: string): void }

export function createRefusals(log: Log, nowMs: () => number = () => performance.now()): Refusals {
  const told = new Map<ErrorCode, { atMs: number; leftOut: number }>()
  return {
    tell(error, requestId) {
      const { code, details } = error
      const facts = { code, request_id: requestId }
      if (code === 'INTERNAL') log.error({ err: error, ...facts, details }, 'refused')
      else if (error.status < 500) log.debug(facts, 'refused')
      else {
        const last = told.get(code)
        if (last !== undefined && nowMs() - last.atMs < EVERY_MS) {
          last.leftOut += 1
          return
        }
        told.set(code, { atMs: nowMs(), leftOut: 0 })
        log.warn({ ...facts, details, left_out: last?.leftOut ?? 0 }, 'refused')
      }
    },
  }
}

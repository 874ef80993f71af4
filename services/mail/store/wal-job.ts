/** What `WalCopies` and its thread tell each other. */

/** In the first place of `state`. Only what waits can be cancelled. */
export const WAITING = 0
export const RUNNING = 1
export const COPIED = 2
export const CANCELLED = 3

export type WalJob = { file: string; state: Int32Array<SharedArrayBuffer> }
/** `error`: why it was not copied. */
export type WalAnswer = { file: string; error: string | null }

/** Reading the answer to a NATS request: its JSON, and the two ways in which there is none. */
import { NoRespondersError, RequestError, TimeoutError } from './nats.ts'

/** Nobody listens on the subject. */
export const isNoResponders = (error: unknown): boolean =>
  error instanceof NoRespondersError || (error instanceof RequestError && error.cause instanceof NoRespondersError)

/** Somebody listens, or did, but no answer came before the deadline. */
export const isTimeout = (error: unknown): boolean =>
  error instanceof TimeoutError || (error instanceof RequestError && error.cause instanceof TimeoutError)

/** JSON of a message, or undefined when it is none. */
export function decodeJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

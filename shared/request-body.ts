/** The bytes of a request as JSON: the same fault for the same bytes, over HTTP and over NATS. What it means is not checked here. */
import { AppError } from './errors.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

/** @throws AppError BAD_JSON, also for no bytes at all */
export function parseBody(bytes: Uint8Array): unknown {
  const text = textOf(bytes)
  try {
    return JSON.parse(text)
  } catch {
    throw refusal(bytes.length === 0 ? 'empty' : 'not JSON')
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw refusal('not UTF-8')
  }
}

/** Without the cause, which would quote the body, and with it a token. */
const refusal = (reason: string): AppError => new AppError('BAD_JSON', { reason })

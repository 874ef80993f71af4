/**
 * What both adapters do with an answer before anything may move: check its shape, and name a failure that never got to
 * be an answer. It knows no provider's fields.
 */
import * as v from 'valibot'
import { type Answer, HttpError } from '../base/http.ts'
import { ProviderError } from './provider.ts'

/** Text of bounded length that can be stored and sent; ids, tokens and links. */
export const token = (maxLength = 4096) =>
  v.pipe(
    v.string(),
    v.minLength(1),
    v.maxLength(maxLength),
    v.check((text) => text.isWellFormed()),
  )

/** The JSON of an answer; undefined when it is none. */
export async function jsonOf(answer: Pick<Answer, 'headers' | 'text'>): Promise<unknown> {
  if (!/^application\/json\b/i.test(answer.headers.get('content-type') ?? '')) return undefined
  try {
    return JSON.parse(await answer.text())
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/**
 * The answer as its schema describes it.
 * @throws ProviderError transient, code BAD_SHAPE: text, HTML, a stream, a cut or foreign body is never "empty".
 */
export function checked<Schema extends v.GenericSchema>(
  schema: Schema,
  data: unknown,
  operation: string,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, data)
  if (result.success) return result.output
  throw new ProviderError('transient', { operation, status: 200, code: 'BAD_SHAPE' })
}

/**
 * A call that brought no answer at all: refused connection, deadline, broken body. An aborted call rejects as aborted.
 * A request that could not even be made (a TypeError above our transport) is our fault, not the provider's: unchanged.
 */
export function noAnswer(operation: string, cause: unknown, signal: AbortSignal): Error {
  signal.throwIfAborted()
  const chain = causesOf(cause)
  const told = chain.find((error) => error instanceof ProviderError)
  if (told !== undefined) return told
  const sent = chain.find((error) => error instanceof HttpError)
  if (sent !== undefined) return new ProviderError('transient', { operation, code: sent.code }, { cause: sent })
  const unsent = chain.find((error) => error instanceof TypeError)
  return unsent ?? new ProviderError('transient', { operation, code: 'NO_ANSWER' }, { cause })
}

function causesOf(thrown: unknown): Error[] {
  const chain: Error[] = []
  for (let at = thrown; at instanceof Error && chain.length < 5; at = at.cause) chain.push(at)
  return chain
}

/**
 * Single items without an id are passed over; a page in which nothing at all can be read is a broken answer.
 * @throws ProviderError transient
 */
export function refuseUnreadablePage(operation: string, page: { readable: number; skipped: number }): void {
  if (page.readable > 0 || page.skipped === 0) return
  throw new ProviderError('transient', { operation, status: 200, code: 'BAD_SHAPE' })
}

/**
 * A provider that names the very page it was asked for as the next one would be walked for ever.
 * @throws ProviderError transient
 */
export function refuseLoop(operation: string, asked: string | null | undefined, next: string | null | undefined): void {
  if (typeof next !== 'string' || next !== asked) return
  throw new ProviderError('transient', { operation, status: 200, code: 'PAGE_TOKEN_REPEATS' })
}

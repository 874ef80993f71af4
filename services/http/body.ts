/**
 * The body of a request as bytes: of bounded size, JSON in UTF-8. The bytes are forwarded as they came; what they mean
 * is the service's to say.
 */
import { REQUEST_MAX_BYTES } from '#shared/contract.ts'
import { AppError } from '#shared/errors.ts'
import { parseBody } from '#shared/request-body.ts'

/** @throws AppError UNSUPPORTED_MEDIA_TYPE, TOO_LARGE, BAD_JSON */
export async function readJson(request: Request): Promise<Uint8Array> {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== 'application/json') throw new AppError('UNSUPPORTED_MEDIA_TYPE')
  const bytes = await readBytes(request)
  parseBody(bytes)
  return bytes
}

async function readBytes(request: Request): Promise<Uint8Array> {
  const tooLarge = (): AppError => new AppError('TOO_LARGE', { max_bytes: REQUEST_MAX_BYTES })
  if (Number(request.headers.get('content-length') ?? 0) > REQUEST_MAX_BYTES) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength
    if (size > REQUEST_MAX_BYTES) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, size)
}

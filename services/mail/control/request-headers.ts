/**
 * The headers of a request are read when somebody asks for them, by a client library that throws where they are malformed
 * and takes the square of their number in time. Here such a request becomes one that is refused like any other.
 */
import { AppError } from '#shared/errors.ts'
import type { Msg } from '#shared/nats.ts'

/** A token has 8 KiB. */
const HEADERS_MAX_BYTES = 16 * 1024
const HEADERS_MAX = 64
const LF = 0x0a

/** What the library keeps of a message; its types do not name it. */
type Received = Msg & { _msg: { hdr: number }; _rdata: Uint8Array }

/** The message itself, or one whose headers throw AppError TOO_LARGE or BAD_REQUEST. */
export function withSafeHeaders(msg: Msg): Msg {
  const fault = faultOf(msg)
  if (fault === null) return msg
  return new Proxy(msg, {
    get(target, name) {
      if (name === 'headers') throw fault
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function faultOf(msg: Msg): AppError | null {
  const { _msg, _rdata } = msg as Received
  if (_msg.hdr > HEADERS_MAX_BYTES) return new AppError('TOO_LARGE', { headers_max_bytes: HEADERS_MAX_BYTES })
  if (_msg.hdr > 0 && linesOf(_rdata.subarray(0, _msg.hdr)) > HEADERS_MAX)
    return new AppError('TOO_LARGE', { headers_max: HEADERS_MAX })
  try {
    // The library keeps what it has read.
    void msg.headers
    return null
  } catch {
    const expected = 'NATS headers: names as in HTTP, no bare CR or LF in a value'
    return new AppError('BAD_REQUEST', { issues: [{ path: '', expected }] })
  }
}

function linesOf(bytes: Uint8Array): number {
  let lines = 0
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) lines += 1
  return lines
}

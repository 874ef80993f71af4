/** Structured logs: JSON lines on stdout, ISO time. Pretty printing is a pipe of the developer, not of the service. */
import { type Logger, pino } from 'pino'

export type Log = Logger

const SECRET_PATHS = ['access_token', 'refresh_token', 'authorization', 'token', 'password', 'credential']

/** A root logger. Secrets are wrapped before they get here; redaction by name is only the second net. */
export function createLog(program: string, level: string, base: Record<string, unknown> = {}): Log {
  return pino({
    level,
    base: { program, ...base },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: SECRET_PATHS.flatMap((path) => [path, `*.${path}`, `*.*.${path}`]), censor: '[redacted]' },
    serializers: { err: describeError, error: describeError },
  })
}

/** Classes of ours: their messages are fixed words and names of ours, so they may be logged. */
export const OWN_ERRORS: ReadonlySet<string> = new Set([
  'AppError',
  'CorruptError',
  'DiskError',
  'ExitError',
  'Fault',
  'GrantError',
  'HttpError',
  'KeyUnavailableError',
  'NotConnectedError',
  'ProviderError',
  'RevisionConflict',
  'SealBrokenError',
  'SilentStream',
  'StaleEpochError',
  'UrlRefused',
])
const WORD = /^[\w$.-]{1,64}$/
const CAUSES_MAX = 5
const FRAMES_MAX = 5

/**
 * Class, code, place and causes of an error, and the message of one of ours. Never the text of a foreign one, which may
 * quote what it was given, nor its other fields, where SDKs keep requests and tokens.
 */
export function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return { type: typeof error }
  const code = 'code' in error ? error.code : undefined
  return {
    type: WORD.test(error.name) ? error.name : 'Error',
    ...(typeof code === 'number' || (typeof code === 'string' && WORD.test(code)) ? { code } : {}),
    ...(OWN_ERRORS.has(error.constructor.name) ? { message: error.message.slice(0, 500) } : {}),
    stack: framesOf(error),
    ...(error.cause === undefined || depth === CAUSES_MAX ? {} : { cause: describeError(error.cause, depth + 1) }),
  }
}

/** The stack without the message that it begins with: that may have lines which look like frames. */
function framesOf({ stack = '', message }: Error): string {
  const start = stack.indexOf(message)
  if (start === -1) return ''
  return stack
    .slice(start + message.length)
    .split('\n')
    .filter((line) => line.startsWith('    at '))
    .slice(0, FRAMES_MAX)
    .join('\n')
}

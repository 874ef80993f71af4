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

/** Class, code, message and causes of an error; never its other fields, where SDKs keep requests and tokens. */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error).slice(0, 500) }
  const code =
    'code' in error && (typeof error.code === 'string' || typeof error.code === 'number') ? error.code : undefined
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    message: error.message.slice(0, 500),
    stack: error.stack?.split('\n').slice(1, 6).join('\n'),
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
  }
}

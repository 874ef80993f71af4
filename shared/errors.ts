/**
 * The closed table of error codes, the error that carries them, and its two wire forms: the JSON body and NATS headers.
 * It never holds a secret and never puts the text of a foreign exception on the wire.
 */

type Row = { status: number; message: string; hint: string }

/** Code → HTTP status, text fit to show a user, what to do. The documents' table is tested against it. */
export const ERRORS = {
  BAD_JSON: {
    status: 400,
    message: 'The body is not JSON.',
    hint: 'Send one JSON object with Content-Type application/json.',
  },
  BAD_REQUEST: {
    status: 400,
    message: 'The request does not fit its schema.',
    hint: 'See details: each entry names a path and what is expected there.',
  },
  BAD_USER_ID: {
    status: 400,
    message: 'The user id cannot be used.',
    hint: 'A user id is non-empty well-formed text of at most 180 encoded characters; in a subject it must be the canonical user token.',
  },
  TOKEN_MISSING: {
    status: 401,
    message: 'No user token was sent.',
    hint: 'Send the header "Authorization: Bearer <JWT>".',
  },
  TOKEN_NOT_A_JWT: {
    status: 401,
    message: 'The token is not a JWT; it looks like a Better Auth session token.',
    hint: 'Fetch a JWT from /api/auth/token (Better Auth jwt plugin) and send that.',
  },
  TOKEN_EXPIRED: {
    status: 401,
    message: 'The token has expired.',
    hint: 'Better Auth tokens live 15 minutes; fetch a new one from /api/auth/token.',
  },
  TOKEN_INVALID: {
    status: 401,
    message: 'The token was refused.',
    hint: 'See details.reason: signature, issuer, audience, algorithm or claim.',
  },
  NOT_FOUND: { status: 404, message: 'There is nothing at this address.', hint: 'See /openapi.json for the routes.' },
  METHOD_NOT_ALLOWED: {
    status: 405,
    message: 'This address does not know that method.',
    hint: 'See the Allow header and /openapi.json.',
  },
  MAILBOX_MISMATCH: {
    status: 409,
    message: 'This inbox belongs to another mailbox.',
    hint: 'Sign in with the mailbox that was connected first, or connect this one under another inbox_id.',
  },
  MAILBOX_ALREADY_CONNECTED: {
    status: 409,
    message: 'This mailbox is already connected under another inbox_id.',
    hint: 'Use the inbox named in details, or disconnect it first.',
  },
  OTHER_MAILBOXES_CONNECTED: {
    status: 409,
    message: 'Other mailboxes of the user are connected.',
    hint: 'All of a user is erased at once: disconnect the mailboxes in details first, or this one without erase.',
  },
  CONFLICT: {
    status: 409,
    message: 'The account was changed by others at the same time.',
    hint: 'Repeat the request.',
  },
  TOO_LARGE: { status: 413, message: 'The request is larger than 64 KiB.', hint: 'Send only the documented fields.' },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    message: 'The body must be JSON.',
    hint: 'Send Content-Type: application/json.',
  },
  CREDENTIAL_REFUSED: {
    status: 422,
    message: 'The provider refused the credential.',
    hint: 'Let the user sign in again and connect with the new tokens; after a disconnect the old ones of Google are void. Check that they belong to the configured client id.',
  },
  RATE_LIMITED: { status: 429, message: 'Too many requests.', hint: 'Wait as long as Retry-After says.' },
  INTERNAL: {
    status: 500,
    message: 'The service failed.',
    hint: 'Repeat the request; if it fails again, give the request_id to the operator.',
  },
  ISSUER_UNREACHABLE: {
    status: 503,
    message: 'The issuer of the user tokens cannot be reached.',
    hint: 'Check BETTER_AUTH_JWKS_URL and that the issuer runs; then repeat.',
  },
  PROVIDER_NOT_CONFIGURED: {
    status: 503,
    message: 'This provider is not configured.',
    hint: 'Set the client id and secret of the provider on every instance.',
  },
  NO_INSTANCE: {
    status: 503,
    message: 'No mail-sync instance is running on this NATS.',
    hint: 'If details.nats says disconnected, NATS is away: start it or check NATS_URL. Otherwise start an instance with "npm start". "mailctl doctor" shows which.',
  },
  NO_OWNER: {
    status: 503,
    message: 'No instance owns this user.',
    hint: 'Is a mailbox of the user connected? Then one does within seconds: repeat the request. If this stays, see "mailctl fleet" and the log of the instances.',
  },
  TIMEOUT: {
    status: 504,
    message: 'The service did not answer in time.',
    hint: 'Repeat the request; all operations may be repeated.',
  },
} as const satisfies Record<string, Row>

export type ErrorCode = keyof typeof ERRORS
export const isErrorCode = (code: unknown): code is ErrorCode => typeof code === 'string' && Object.hasOwn(ERRORS, code)

/** Codes of `last_error` beside those above: why an account is not live. */
export const ACCOUNT_ERRORS = {
  AUTH_EXPIRED: 'The provider no longer accepts the grant. Let the user sign in again and connect.',
  KEY_UNAVAILABLE: 'The credential is sealed with a key that this instance does not have. Give it the key.',
  THROTTLED: 'The provider asked to wait. Sync goes on by itself at retry_at.',
  PROVIDER_DOWN: 'The provider fails or cannot be reached. Sync goes on by itself.',
  PROVIDER_REFUSED: 'The provider refuses a request that should be right. Sync is repeated slowly; see the log.',
  CURSOR_EXPIRED:
    'The provider forgot the position; the mailbox is compared again from the start, only new mail is published.',
  MESSAGE_SET_ASIDE: 'Some messages could not be read. They are retried with a growing delay; all others go on.',
  STREAM_FULL: 'The stream is full. Mail waits in the outbox; raise MAIL_STREAM_MAX_BYTES.',
  NATS_UNAVAILABLE: 'NATS does not take the events. Mail waits in the outbox.',
  DISK_FULL: 'The disk of the instance is full or read-only. Nothing is fetched until there is room.',
  SHARED_MAILBOX:
    "Several users share this mailbox and expire each other's position; it is walked at most every ten minutes.",
  NOT_OWNED: 'No instance works on this account at the moment. If this stays, see the log of the instances.',
  WRONG_MAILBOX:
    'The credential opens another mailbox than the one bound to this inbox. Let the user sign in with the right one.',
} as const
export type AccountErrorCode = keyof typeof ACCOUNT_ERRORS | ErrorCode

/** Facts about one error: shown in `details`. Never a secret, never text of a foreign exception. */
export type ErrorDetails = Record<string, unknown>

/** Shape of every error answer, over HTTP and NATS. */
export type ErrorBody = {
  error: { code: ErrorCode; message: string; hint: string; details: ErrorDetails; request_id: string }
}

/** An error that travels: a code of the table, facts, and the cause for the log only. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly details: ErrorDetails
  constructor(code: ErrorCode, details: ErrorDetails = {}, options: { cause?: unknown } = {}) {
    super(`${code}: ${ERRORS[code].message}`, options)
    this.code = code
    this.details = details
  }
  get status(): number {
    return ERRORS[this.code].status
  }
}

/** Any thrown value as an AppError; what is not one becomes INTERNAL with the value as cause. */
export const toAppError = (thrown: unknown): AppError =>
  thrown instanceof AppError ? thrown : new AppError('INTERNAL', {}, { cause: thrown })

/** The wire body of an error. */
export function errorBody(error: AppError, requestId: string): ErrorBody {
  const { message, hint } = ERRORS[error.code]
  return { error: { code: error.code, message, hint, details: error.details, request_id: requestId } }
}

/** Rebuilds the AppError from a wire body, or null when the body is not one. */
export function errorFromBody(body: unknown): AppError | null {
  if (typeof body !== 'object' || body === null || !('error' in body)) return null
  const error = body.error
  if (typeof error !== 'object' || error === null || !('code' in error) || !isErrorCode(error.code)) return null
  const details = 'details' in error && typeof error.details === 'object' && error.details !== null ? error.details : {}
  return new AppError(error.code, { ...details })
}

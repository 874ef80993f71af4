/** The code of a system error (ENOENT, SQLITE_FULL), which is fit to show; its message may not be. */
export const faultCode = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown fault'

/**
 * The one place that loads jose: with the first token that is verified, sealed or opened. A service answers requests before
 * that (ADR 0037).
 */
type Jose = typeof import('jose')

let loaded: Jose | undefined

export async function jose(): Promise<Jose> {
  loaded ??= await import('jose')
  return loaded
}

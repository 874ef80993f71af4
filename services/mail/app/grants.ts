/** The OAuth clients of the configured providers, with a way of their own to the token endpoints. */
import type { Config } from '../base/config.ts'
import { createHttp } from '../base/http.ts'
import type { ProviderName } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { GRANT_HTTP, type GrantClient } from '../token/refresh.ts'

/** `clients`: of those providers that have an id and a secret. */
export type Grants = AsyncDisposable & { clients: Partial<Record<ProviderName, GrantClient>> }

/** @param connect makes the way; a test counts what is under way on it. */
export function openGrants(config: Config, clock: Clock, connect: typeof createHttp = createHttp): Grants {
  const http = connect({ clock, ...GRANT_HTTP })
  const { google, microsoft } = config.clients
  return {
    clients: {
      ...(google === null ? {} : { google: { ...google, provider: 'google', http } }),
      ...(microsoft === null ? {} : { microsoft: { ...microsoft, provider: 'microsoft', http } }),
    },
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  }
}

/** Keys, the seal, the tokens, and the mirror of all credentials in auth.db. */

import type { Telemetry } from '../base/telemetry.ts'
import { KeyCounter } from '../token/key-counts.ts'
import { loadKeys } from '../token/keys.ts'
import { createSeal, kidsOf } from '../token/seal.ts'
import { TokenProvider } from '../token/tokens.ts'
import type { Ground } from './ground.ts'
import type { Late } from './late.ts'
import { mirrorCredentials } from './mirror.ts'

export type Credentials = Awaited<ReturnType<typeof openCredentials>>

/** @throws ExitError 78 when a key is missing or unfit, or the reason of `stop` */
export async function openCredentials(
  ground: Ground,
  telemetry: Late<Telemetry>,
  stack: AsyncDisposableStack,
  stop: AbortSignal,
) {
  const { config, log, clock, auth, accounts, broker, clients, store } = ground
  const sealed = [...accounts.entries()].flatMap(({ record }) =>
    [record.credential, record.revoke].filter((value) => value !== null),
  )
  const kidsInUse = [...new Set([...auth.allKids(kidsOf), ...kidsOf(sealed)])]
  const keys = await loadKeys({ ...config.keys, dataDir: config.dataDir, kidsInUse, signal: stop }, log)
  telemetry.use(({ tokenSealed }) => tokenSealed(keys.active().kid, 0))
  const seal = createSeal(keys, (kid) => telemetry.use(({ tokenSealed }) => tokenSealed(kid)))
  const tokens = stack.use(
    new TokenProvider({
      auth,
      records: {
        read: (account) => accounts.read(account),
        write: (account, record, revision) => accounts.write(account, record, revision),
      },
      seal,
      clock,
      log,
      bucketCreatedMs: () => broker.buckets.get('accounts').createdMs,
      clients,
      onRefresh: (provider, outcome) => telemetry.use(({ tokenRefreshed }) => tokenRefreshed(provider, outcome)),
    }),
  )
  const counter = new KeyCounter({ keys, auth, records: () => accounts.entries(), clock })
  return { keys, counter, seal, tokens, mirror: mirrorCredentials({ accounts, tokens, auth, store, log }) }
}

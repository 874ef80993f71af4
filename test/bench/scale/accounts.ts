/**
 * Connects users by writing what `mail.connect` leaves in `mail_accounts`, before any instance runs: ten thousand calls of the
 * control plane are not what is measured, and all users begin at the same moment.
 */
import PQueue from 'p-queue'
import { createLog } from '#shared/log.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { Secret } from '#shared/secret.ts'
import { accountKey, BUCKET_ACCOUNTS, type ProviderName } from '#shared/subjects.ts'
import type { AccountRecord } from '../../../services/mail/kv/account-record.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { sealCredential } from '../../../services/mail/token/credential.ts'
import { loadKeys } from '../../../services/mail/token/keys.ts'
import { createSeal } from '../../../services/mail/token/seal.ts'
import type { Credentials } from '../../simulator/types.ts'
import type { Sandbox } from '../../support/sandbox.ts'
import { tokenOf } from '../provider/mailbox.ts'

const AT_ONCE = 256
const INBOX = 'primary'

export type Connected = { userId: string; provider: ProviderName; credentials: Credentials }

/** Credentials of a mailbox of the benchmark's provider. */
export function credentialsOf(user: string, mails: number): Credentials {
  const token = tokenOf({ user, mails })
  return { access_token: token, refresh_token: token, expires_in: 86_400, address: `${user}@gmail.example` }
}

export async function writeAccounts(box: Sandbox, nc: NatsConnection, users: readonly Connected[]): Promise<void> {
  const keys = new Secret(box.env('').MAIL_TOKEN_KEYS ?? '')
  const ring = await loadKeys({ keys, production: true, dataDir: box.dir, kidsInUse: [] }, createLog('bench', 'silent'))
  const seal = createSeal(ring)
  const bucket = await Bucket.open(nc, BUCKET_ACCOUNTS)
  const nowS = Math.floor(Date.now() / 1_000)
  const queue = new PQueue({ concurrency: AT_ONCE })
  await queue.addAll(
    users.map(({ userId, provider, credentials }) => async () => {
      const { access_token, refresh_token, expires_in, address } = credentials
      const account = { userId, provider, inboxId: INBOX }
      const tokens = { accessToken: new Secret(access_token), refreshToken: new Secret(refresh_token) }
      const record: AccountRecord = {
        v: 1,
        desired: 'connected',
        mailbox: address.toLowerCase(),
        address,
        credential: await sealCredential(seal, account, { ...tokens, expiryS: nowS + expires_in }),
        revoke: null,
        reauth: null,
        updated_at: nowS,
      }
      await bucket.write(accountKey(userId, provider, INBOX), JSON.stringify(record), null)
    }),
  )
}

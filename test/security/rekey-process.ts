/**
 * A process that seals stored tokens anew while it refreshes others, and kills itself at one moment. For
 * rekey-kills.test.ts. It prints `r <account> <n>` when the n-th refresh of an account is done, and `done` at its end.
 */
import { writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { mirrorCredentials } from '../../services/mail/app/mirror.ts'
import { createHttp } from '../../services/mail/base/http.ts'
import { systemClock } from '../../services/mail/base/time.ts'
import { Accounts } from '../../services/mail/kv/accounts.ts'
import { Bucket } from '../../services/mail/kv/bucket.ts'
import { AuthStore } from '../../services/mail/store/auth-store.ts'
import { UserStore } from '../../services/mail/store/user-store.ts'
import { KeyCounter } from '../../services/mail/token/key-counts.ts'
import { loadKeys } from '../../services/mail/token/keys.ts'
import { GRANT_HTTP } from '../../services/mail/token/refresh.ts'
import { Rekey } from '../../services/mail/token/rekey.ts'
import { createSeal } from '../../services/mail/token/seal.ts'
import { TokenProvider } from '../../services/mail/token/tokens.ts'
import { createLog } from '../../shared/log.ts'
import { connectNats } from '../../shared/nats.ts'
import { Secret } from '../../shared/secret.ts'
import { BUCKET_ACCOUNTS } from '../../shared/subjects.ts'
import { until } from '../support/until.ts'

/** Where it dies: before the n-th write of this kind, or after it; `never` comes to the end. */
type Death = { of: 'record' | 'rows' | 'never'; at: number; when: 'before' | 'after' }

const [url = '', authFile = '', tokenUrl = '', keyText = '', death = ''] = process.argv.slice(2)
const { of, at, when }: Death = JSON.parse(death)
const log = createLog('test', 'silent')
const stop = new AbortController()

const nc = await connectNats({ url, name: 'test', inboxPrefix: '_INBOX' }, log, AbortSignal.timeout(30_000))
const bucket = await Bucket.open(nc, BUCKET_ACCOUNTS)
const accounts = new Accounts(() => bucket, systemClock, log)
const following = accounts.run(stop.signal)
await accounts.replica.whenFresh(AbortSignal.timeout(30_000))
const auth = new AuthStore(authFile)
const keys = await loadKeys({ keys: new Secret(keyText), production: true, dataDir: 'unused', kidsInUse: [] }, log)
const seal = createSeal(keys)
const http = createHttp(GRANT_HTTP)
const client = {
  clientId: 'id',
  clientSecret: new Secret('secret'),
  http,
  provider: 'google',
  revokeUrl: null,
} as const
const tokens = new TokenProvider({
  auth,
  records: {
    read: (account) => accounts.read(account),
    write: (account, record, revision) => accounts.write(account, record, revision),
  },
  seal,
  clock: systemClock,
  log,
  bucketCreatedMs: () => bucket.createdMs,
  clients: { google: { ...client, tokenUrl: `${tokenUrl}/token` } },
})
const store = new UserStore({ dataDir: dirname(authFile), log })
const mirror = mirrorCredentials({ accounts, tokens, auth, store: async () => store, log }).run(stop.signal)

const done = { before: 0, after: 0 }
function dieAt(kind: 'record' | 'rows', moment: 'before' | 'after'): void {
  if (kind === of && moment === when && ++done[moment] === at) process.kill(process.pid, 'SIGKILL')
}
const rekey = new Rekey({
  keys,
  seal,
  auth: {
    list: () => auth.list(),
    reseal(rows) {
      dieAt('rows', 'before')
      const exchanged = auth.reseal(rows)
      dieAt('rows', 'after')
      return exchanged
    },
  },
  records: () => accounts.entries(),
  async write(account, record, revision) {
    dieAt('record', 'before')
    const written = await accounts.write(account, record, revision)
    dieAt('record', 'after')
    return written
  },
  isMine: () => true,
  log,
})

/** One refresh after the other, each of another account, until everything is sealed anew. */
async function refreshing(from: number): Promise<void> {
  const all = [...accounts.entries()]
  for (let i = from; !stop.signal.aborted; i += 7) {
    const entry = all[i % all.length]
    if (entry === undefined) return
    const token = await tokens.accessToken(entry.account, { refresh: 'force' }, stop.signal)
    // At once: what is printed must have been done, and what a kill swallows was never said.
    writeSync(1, `r ${token.reveal().split('-').slice(1).join(' ')}\n`)
  }
}

const ended = [at, at + 3].map((from) =>
  refreshing(from).catch((error) => stop.signal.aborted || Promise.reject(error)),
)
const counter = new KeyCounter({ keys, auth, records: () => accounts.entries(), clock: systemClock })
await until('everything is sealed with the active key', async () => {
  await rekey.pass(stop.signal)
  const { accounts: records, auth_db } = await counter.count()
  return (records.k1 ?? 0) + (auth_db.k1 ?? 0) === 0
})
stop.abort(new Error('done'))
await Promise.all([...ended, mirror, following])
await tokens[Symbol.asyncDispose]()
auth[Symbol.dispose]()
writeSync(1, 'done\n')
process.exit(0)

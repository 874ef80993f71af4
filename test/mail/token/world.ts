/**
 * What the token provider lives among: a real bucket on a real nats-server, a real auth.db, real keys and a token
 * endpoint. Refuses to replace any of them; faults are made on the wire or at the port.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { TestContext } from 'node:test'
import { inspect } from 'node:util'
import { pino } from 'pino'
import type { AccountRef } from '../../../services/mail/base/model.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import type { AccountRecord } from '../../../services/mail/kv/account-record.ts'
import { Accounts } from '../../../services/mail/kv/accounts.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { AuthStore } from '../../../services/mail/store/auth-store.ts'
import { openCredential, openPair, sealCredential, type Tokens } from '../../../services/mail/token/credential.ts'
import { loadKeys } from '../../../services/mail/token/keys.ts'
import { createSeal, type Seal } from '../../../services/mail/token/seal.ts'
import { TokenProvider } from '../../../services/mail/token/tokens.ts'
import type { AccountRecords } from '../../../services/mail/token/vault.ts'
import { createLog, describeError, type Log } from '../../../shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '../../../shared/nats.ts'
import { Secret } from '../../../shared/secret.ts'
import { BUCKET_ACCOUNTS } from '../../../shared/subjects.ts'
import { type NatsServer, startNatsServer } from '../../support/nats-server.ts'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { grantAnswer, TokenServer } from './token-server.ts'

const silent = createLog('test', 'silent')
export const nowS = (): number => Math.floor(Date.now() / 1000)
export const tokensOf = (name: string, expiryS: number): Tokens => ({
  accessToken: new Secret(`canary-access-${name}`),
  refreshToken: new Secret(`canary-refresh-${name}`),
  expiryS,
})

/** NATS for one test file: a server, the link to it that can be cut, and the bucket of accounts. */
export class Broker {
  readonly proxy: TcpProxy
  readonly nc: NatsConnection
  readonly #server: NatsServer
  bucket: Bucket

  private constructor(server: NatsServer, proxy: TcpProxy, nc: NatsConnection, bucket: Bucket) {
    this.#server = server
    this.proxy = proxy
    this.nc = nc
    this.bucket = bucket
  }

  static async start(): Promise<Broker> {
    const server = await startNatsServer({ conf: 'open' })
    const proxy = await startProxy(server.port)
    const options = { url: `nats://127.0.0.1:${proxy.port}`, name: 'test', inboxPrefix: '_INBOX' }
    const nc = await connectNats(options, silent, AbortSignal.timeout(10_000))
    return new Broker(server, proxy, nc, await Bucket.open(nc, BUCKET_ACCOUNTS))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await drainNats(this.nc, silent)
    await this.proxy[Symbol.asyncDispose]()
    await this.#server[Symbol.asyncDispose]()
  }
}

let users = 0

/** One account of one user, and the instance that owns it; `open()` gives further instances on the same or another disk. */
export class World {
  readonly account: AccountRef
  readonly server: TokenServer
  readonly broker: Broker
  readonly seal: Seal
  readonly dir: string
  readonly outcomes: string[] = []
  /** Everything that was logged, as text. */
  readonly logged: string[] = []
  readonly log: Log
  #shiftMs = 0

  private constructor(broker: Broker, server: TokenServer, seal: Seal, dir: string) {
    this.broker = broker
    this.server = server
    this.seal = seal
    this.dir = dir
    this.account = { userId: `user:${++users}`, provider: 'google', inboxId: 'primary' }
    const sink = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.logged.push(chunk.toString('utf8'))
        done()
      },
    })
    this.log = pino({ level: 'debug', serializers: { err: describeError } }, sink)
  }

  /** @param keyText the keys of the world; default: one of its own */
  static async start(
    t: TestContext,
    broker: Broker,
    keyText = `k1:${randomBytes(32).toString('base64url')}`,
  ): Promise<World> {
    const dir = await mkdtemp(join(tmpdir(), 'mail-sync-tokens-'))
    t.after(() => rm(dir, { recursive: true }))
    const server = await TokenServer.start()
    t.after(() => server[Symbol.asyncDispose]())
    const ring = await loadKeys({ keys: new Secret(keyText), production: true, dataDir: dir, kidsInUse: [] }, silent)
    const world = new World(broker, server, createSeal(ring), dir)
    let round = 1
    server.answer = () => {
      round++
      const name = `canary-access-${round}`
      return grantAnswer({ access_token: name, refresh_token: `canary-refresh-${round}`, expires_in: 3600 })
    }
    return world
  }

  get records(): Accounts {
    return new Accounts(() => this.broker.bucket, systemClock, silent)
  }

  /** Moves the clocks of every instance. */
  advanceS(seconds: number): void {
    this.#shiftMs += seconds * 1000
  }

  /** An instance: its auth.db and its token provider. Dropping it without disposing is a crash. */
  open(t: TestContext, options: { disk?: string; records?: AccountRecords; seal?: Seal } = {}) {
    const auth = new AuthStore(join(this.dir, options.disk ?? 'one', 'auth.db'))
    t.after(() => auth[Symbol.dispose]())
    const records = options.records ?? this.records
    const tokens = new TokenProvider({
      auth,
      records,
      seal: options.seal ?? this.seal,
      clock: {
        ...systemClock,
        wallMs: () => Date.now() + this.#shiftMs,
        monoMs: () => performance.now() + this.#shiftMs,
      },
      log: this.log,
      bucketCreatedMs: () => this.broker.bucket.createdMs,
      clients: { google: this.server.client('google') },
      onRefresh: (_provider, outcome) => this.outcomes.push(outcome),
    })
    return { auth, tokens, records }
  }

  async recordOf(tokens: Tokens, change: Partial<AccountRecord> = {}): Promise<AccountRecord> {
    const credential = await sealCredential(this.seal, this.account, tokens)
    const facts = { mailbox: 'a@example.com', address: 'a@example.com', revoke: null, reauth: null }
    return { v: 1, desired: 'connected', ...facts, credential, updated_at: nowS(), ...change }
  }

  /** Writes the record over whatever stands there, as another instance would. Answers the revision. */
  async connect(tokens: Tokens, change: Partial<AccountRecord> = {}): Promise<number> {
    const current = await this.records.read(this.account)
    return this.records.write(this.account, await this.recordOf(tokens, change), current?.revision ?? null)
  }

  /** Connects another inbox of the user. */
  async connectOther(tokens: Tokens): Promise<AccountRef> {
    const other = { ...this.account, inboxId: 'second' }
    const record = { ...(await this.recordOf(tokens)), credential: await sealCredential(this.seal, other, tokens) }
    await this.records.write(other, record, null)
    return other
  }

  /** Access and refresh token that the record holds. */
  async inKv(): Promise<string[]> {
    const found = await this.records.read(this.account)
    if (found?.record.credential == null) return []
    return plain(await openCredential(this.seal, this.account, found.record.credential))
  }

  /** Access and refresh token that auth.db holds. */
  async onDisk(auth: AuthStore): Promise<string[]> {
    const row = auth.get(this.account)
    return row === null ? [] : plain(await openPair(this.seal, this.account, row))
  }

  /** What could be seen of errors, log lines and parts: for canaries. */
  shown(...values: unknown[]): string {
    return `${this.logged.join('')}${inspect(values, { depth: 12, showHidden: true })}`
  }
}

const plain = ({ accessToken, refreshToken }: Tokens): string[] => [accessToken.reveal(), refreshToken.reveal()]

/** A bucket whose writes are under way for ever; `begun` resolves with the first. */
export function stuckWrites(records: AccountRecords): { records: AccountRecords; begun: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const write = (): Promise<number> => {
    resolve()
    return new Promise(() => undefined)
  }
  return { records: { read: (account, signal) => records.read(account, signal), write }, begun: promise }
}

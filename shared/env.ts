/**
 * The environment: ONE table, read once, all faults reported at once. The only reader of process.env.
 * `.env.example` and the table in the documents derive from it. An empty value counts as unset.
 */
import { EXIT_CONFIG, ExitError } from './lifecycle.ts'
import { isLoopback } from './loopback.ts'
import { Secret } from './secret.ts'

type Program = 'mail' | 'http' | 'cli'
type Variable<T> = {
  parse(text: string): T
  /** Text of the default; undefined when there is none. */
  fallback: string | undefined
  programs: readonly Program[]
  doc: string
}
/** A fault that says what is expected; the value itself is never repeated. */
class Fault extends Error {}

const ALL: readonly Program[] = ['mail', 'http', 'cli']

const text = (doc: string, programs = ALL, fallback?: string): Variable<string> => ({
  parse: (t) => t,
  fallback,
  programs,
  doc,
})
const secret = (doc: string, programs = ALL): Variable<Secret> => ({
  parse: (t) => new Secret(t),
  fallback: undefined,
  programs,
  doc,
})
const whole = (
  fallback: number | undefined,
  min: number,
  max: number,
  doc: string,
  programs: readonly Program[] = ['mail'],
): Variable<number> => ({
  parse(t) {
    const n = Number(t)
    if (!/^\d+$/.test(t) || n < min || n > max) throw new Fault(`a whole number from ${min} to ${max}`)
    return n
  },
  fallback: fallback === undefined ? undefined : String(fallback),
  programs,
  doc,
})
const choice = <const C extends string>(
  options: readonly C[],
  fallback: C,
  doc: string,
  programs: readonly Program[] = ['mail'],
): Variable<C> => ({
  parse(t) {
    const found = options.find((option) => option === t)
    if (found === undefined) throw new Fault(`one of ${options.join(', ')}`)
    return found
  },
  fallback,
  programs,
  doc,
})
const flag = (doc: string, programs: readonly Program[] = ['mail']): Variable<boolean> => ({
  parse(t) {
    if (t !== '0' && t !== '1') throw new Fault('0 or 1')
    return t === '1'
  },
  fallback: '0',
  programs,
  doc,
})
/** An https URL, or http to loopback only; without a trailing slash. */
const webUrl = (
  fallback: string | undefined,
  doc: string,
  programs: readonly Program[] = ['mail'],
): Variable<string> => ({
  parse(t) {
    const url = URL.parse(t)
    const open = url?.protocol === 'http:' && isLoopback(url.hostname)
    if (url === null || (url.protocol !== 'https:' && !open) || url.username !== '' || url.password !== '')
      throw new Fault('an https URL, or http to loopback, without user and password')
    return t.replace(/\/+$/, '')
  },
  fallback,
  programs,
  doc,
})
const natsUrl: Variable<string> = {
  parse(t) {
    for (const server of t.split(',').map((part) => part.trim())) {
      const url = URL.parse(server.includes('://') ? server : `nats://${server}`)
      if (url === null || url.hostname === '' || !['nats:', 'tls:'].includes(url.protocol))
        throw new Fault('nats://host:port or tls://host:port, or several with commas between them')
      if (url.username !== '' || url.password !== '')
        throw new Fault('a URL without user and password: use NATS_USER and NATS_PASSWORD')
    }
    return t
  },
  fallback: 'nats://localhost:4222',
  programs: ALL,
  doc: 'Address of the NATS server; of a cluster all of them, with commas',
}

/** Every variable. Order is the order of the documents. */
export const ENV = {
  NATS_URL: natsUrl,
  NATS_USER: text('NATS user of this program: mailsync for the service, bridge for HTTP, service for mailctl'),
  NATS_PASSWORD: secret('Password of NATS_USER'),
  NATS_CREDS: text('Path of a NATS credentials file, instead of user and password'),
  NATS_NKEY_SEED: secret('Seed of the nkey of this program, instead of the password; NATS_USER still names its role'),
  NATS_TLS_CA: text('File with the certificates that sign those of the NATS servers; default: those that Node trusts'),
  NATS_TLS_CERT: text('File with the certificate of this program, where the NATS server asks for one'),
  NATS_TLS_KEY: text('File with the private key of NATS_TLS_CERT'),
  NATS_PLAINTEXT: flag('Go to NATS without TLS beyond loopback too, where the network is yours alone', ALL),
  GOOGLE_CLIENT_ID: text('OAuth client id of your Google project', ['mail', 'cli']),
  GOOGLE_CLIENT_SECRET: secret('OAuth client secret of your Google project', ['mail', 'cli']),
  MICROSOFT_CLIENT_ID: text('Application id of your Microsoft registration', ['mail', 'cli']),
  MICROSOFT_CLIENT_SECRET: secret('Client secret of your Microsoft registration', ['mail', 'cli']),
  AUTH_DB_PATH: text('File of the sealed tokens; default $MAIL_DATA_DIR/auth.db', ['mail']),
  BETTER_AUTH_JWKS_URL: webUrl(
    undefined,
    'JWKS of the issuer of user tokens, for example http://localhost:3000/api/auth/jwks',
    ALL,
  ),
  BETTER_AUTH_ISSUER: text('Issuer that user tokens must carry; default: origin of the JWKS URL', ['mail', 'http']),
  BETTER_AUTH_AUDIENCE: text('Audience that user tokens must carry; default: origin of the JWKS URL', ['mail', 'http']),
  MAIL_DATA_DIR: text('Folder of the databases; one process per folder', ['mail'], 'data'),
  MAIL_INSTANCE_NAME: text('Stable name of this instance; default: host name and id of the data folder', ['mail']),
  MAIL_SYNC_INTERVAL_MS: whole(30_000, 100, 86_400_000, 'Time between two polls of a mailbox in which mail comes'),
  MAIL_SYNC_INTERVAL_MAX_MS: whole(
    undefined,
    100,
    86_400_000,
    'Bound of the time between two polls of a quiet mailbox, which is MAIL_SYNC_INTERVAL_MS doubled; default 8 times it',
  ),
  MAIL_LEASE_SILENCE_MS: whole(
    6_000,
    1_000,
    120_000,
    'Silence after which an instance counts as dead; the other lease times are fractions of it',
  ),
  MAIL_EVENT_RETENTION_DAYS: whole(30, 1, 3_650, 'How long the stream keeps events'),
  MAIL_DEDUPE_WINDOW_MS: whole(
    600_000,
    100,
    86_400_000,
    'Duplicate window of the stream; correctness does not depend on it',
  ),
  MAIL_STREAM_MAX_BYTES: whole(8 * 1024 ** 3, 1024 ** 2, 1024 ** 5, 'Size at which the stream refuses new events'),
  MAIL_NATS_REPLICAS: choice(
    ['1', '3', '5'],
    '1',
    'Least number of servers that keep a copy of stream, buckets and snapshots; more than 1 needs a cluster',
  ),
  MAIL_OUTBOX_KEEP_MS: whole(86_400_000, 600_000, 2_592_000_000, 'How long published outbox rows are kept'),
  MAIL_ON_NEW_STREAM: choice(
    ['skip', 'republish'],
    'skip',
    'What to do with mail already published when JetStream was lost',
  ),
  MAIL_TRUST_OPEN_NATS: flag('Serve mail.as.* on a NATS server without users; loopback only'),
  MAIL_USER_REQUESTS_PER_MIN: whole(
    600,
    1,
    1_000_000,
    'Requests per minute that an instance answers to one user token',
  ),
  MAIL_USER_CONNECTS_PER_MIN: whole(20, 1, 1_000_000, 'Connects among them'),
  MAIL_REQUESTS_CONCURRENT: whole(2_000, 1, 100_000, 'Requests that an instance works on at the same time'),
  MAIL_METRICS_PORT: whole(
    undefined,
    0,
    65_535,
    'Port of /metrics, /healthz and /readyz of this instance; unset = off',
  ),
  MAIL_METRICS_HOST: text('Address on which MAIL_METRICS_PORT listens', ['mail'], '127.0.0.1'),
  MAIL_LOG_LEVEL: choice(['debug', 'info', 'warn', 'error', 'silent'], 'info', 'Least level that is logged', ALL),
  MAIL_COMMIT: text('Commit that this program was built from, set by the build; default: that of the checkout', [
    'mail',
  ]),
  MAIL_GMAIL_UNITS_PER_MIN: whole(6_000, 60, 10_000_000, 'Gmail quota units per user and minute'),
  MAIL_GMAIL_GET_UNITS: whole(20, 1, 100, 'Gmail quota units of one messages.get'),
  MAIL_GMAIL_PROJECT_UNITS_PER_MIN: whole(
    1_200_000,
    60,
    1_000_000_000,
    'Gmail quota units per project and minute; live instances share them',
  ),
  MAIL_GRAPH_REQUESTS_PER_10MIN: whole(10_000, 10, 100_000_000, 'Graph requests per mailbox and ten minutes'),
  MAIL_GRAPH_CONCURRENCY: whole(3, 1, 4, 'Graph requests in flight per mailbox'),
  MAIL_GMAIL_BASE_URL: webUrl('https://gmail.googleapis.com', 'Address of the Gmail API'),
  MAIL_GOOGLE_TOKEN_URL: webUrl('https://oauth2.googleapis.com/token', 'Token endpoint of Google', ['mail', 'cli']),
  MAIL_GOOGLE_REVOKE_URL: webUrl('https://oauth2.googleapis.com/revoke', 'Revocation endpoint of Google'),
  MAIL_GRAPH_BASE_URL: webUrl('https://graph.microsoft.com/v1.0', 'Address of Microsoft Graph'),
  MAIL_MICROSOFT_TOKEN_URL: webUrl(
    'https://login.microsoftonline.com/common/oauth2/v2.0/token',
    'Token endpoint of Microsoft',
    ['mail', 'cli'],
  ),
  MAIL_GOOGLE_AUTHORIZE_URL: webUrl(
    'https://accounts.google.com/o/oauth2/v2/auth',
    'Sign-in page of Google, for mailctl login',
    ['cli'],
  ),
  MAIL_MICROSOFT_AUTHORIZE_URL: webUrl(
    'https://login.microsoftonline.com/common/oauth2/v2.0/authorize',
    'Sign-in page of Microsoft, for mailctl login',
    ['cli'],
  ),
  MAIL_TOKEN_KEYS: secret('Keys of the token seal: kid:base64url of 32 bytes, comma-separated, the first one seals', [
    'mail',
  ]),
  MAIL_TOKEN_KEY_FILE: text('File that holds MAIL_TOKEN_KEYS; mode 0600', ['mail']),
  MAIL_TOKEN_KEY_COMMAND: text('Command whose output is MAIL_TOKEN_KEYS, for a KMS or a vault', ['mail']),
  HTTP_HOST: text('Address on which the bridge listens', ['http'], '127.0.0.1'),
  HTTP_PORT: whole(8080, 0, 65_535, 'Port on which the bridge listens', ['http']),
  HTTP_CONNECTIONS_MAX: whole(1_000, 1, 100_000, 'Open connections of the bridge; what is beyond is closed', ['http']),
  NODE_ENV: text('production: refuse to start without a token key', ['mail']),
} satisfies Record<string, Variable<unknown>>

export type EnvName = keyof typeof ENV
type ValueOf<K extends EnvName> = (typeof ENV)[K] extends Variable<infer T> ? T : never
/** Names whose table row has a default are always present. */
type WithDefault = {
  [K in EnvName]: K extends OptionalName ? never : K
}[EnvName]
type OptionalName =
  | 'NATS_USER'
  | 'NATS_PASSWORD'
  | 'NATS_CREDS'
  | 'NATS_NKEY_SEED'
  | 'NATS_TLS_CA'
  | 'NATS_TLS_CERT'
  | 'NATS_TLS_KEY'
  | 'GOOGLE_CLIENT_ID'
  | 'GOOGLE_CLIENT_SECRET'
  | 'MICROSOFT_CLIENT_ID'
  | 'MICROSOFT_CLIENT_SECRET'
  | 'AUTH_DB_PATH'
  | 'BETTER_AUTH_JWKS_URL'
  | 'BETTER_AUTH_ISSUER'
  | 'BETTER_AUTH_AUDIENCE'
  | 'MAIL_INSTANCE_NAME'
  | 'MAIL_SYNC_INTERVAL_MAX_MS'
  | 'MAIL_METRICS_PORT'
  | 'MAIL_COMMIT'
  | 'MAIL_TOKEN_KEYS'
  | 'MAIL_TOKEN_KEY_FILE'
  | 'MAIL_TOKEN_KEY_COMMAND'
  | 'NODE_ENV'
export type Env = Readonly<{ [K in WithDefault]: ValueOf<K> } & { [K in OptionalName]: ValueOf<K> | undefined }>

/**
 * Reads and checks the whole environment for one program.
 * @throws ExitError 78 with one line per fault.
 */
export function readEnv(program: Program, required: readonly EnvName[], source: NodeJS.ProcessEnv = process.env): Env {
  const values: Record<string, unknown> = {}
  const faults: string[] = []
  for (const [name, variable] of Object.entries<Variable<unknown>>(ENV)) {
    const given = source[name] === '' ? undefined : source[name]
    const raw = given ?? variable.fallback
    if (raw === undefined) {
      values[name] = undefined
      if (required.some((needed) => needed === name)) faults.push(`${name} is not set: ${variable.doc}`)
      continue
    }
    try {
      values[name] = variable.parse(raw)
    } catch (error) {
      if (!(error instanceof Fault)) throw error
      if (variable.programs.includes(program)) faults.push(`${name} must be ${error.message}: ${variable.doc}`)
    }
  }
  if (faults.length > 0) throw new ExitError(EXIT_CONFIG, faults.join('\n'))
  return Object.freeze(values) as Env
}

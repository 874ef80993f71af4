/**
 * What a user may do and what one may try against another: requests over HTTP and NATS with own, borrowed and forged
 * tokens, looks at what belongs to oneself. Each step says to whom its answer belongs; what may stand in it is the walk's.
 */
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { type KV, Kvm } from '@nats-io/kv'
import { headers, type NatsConnection } from '#shared/nats.ts'
import {
  accountKey,
  asSubject,
  BUCKET_ACCOUNTS,
  EVENT_STREAM,
  eraseSubject,
  eventSubject,
  HEADER_AUTHORIZATION,
  type InspectionName,
  type OperationName,
  requestSubject,
} from '#shared/subjects.ts'
import { readUserDb } from '../mail/acceptance/support.ts'
import { credentialsOf, deliver, type Tenant, type Tenants } from './tenants.ts'
import { type ForgeKey, signed } from './token-forge.ts'

const TIMEOUT_MS = 20_000

export type Walk = {
  tenants: Tenants
  /** The bridge over HTTP. */
  url: string
  service: NatsConnection
  bridge: NatsConnection
  jsm: JetStreamManager
  accounts: KV
  issuer: string
  honest: ForgeKey
  thief: ForgeKey
}
/** `asked` begins with `refused` or `denied` where nothing but that may be the answer. */
export type Answer = { asked: string; owner: Tenant | null; text: string | Uint8Array }
export type Step = (walk: Walk, me: Tenant, other: Tenant) => Promise<Answer>

/** The ways to look as an operator: what one's own subject and records are. */
export async function lookers(ops: NatsConnection): Promise<Pick<Walk, 'jsm' | 'accounts'>> {
  return { jsm: await jetstreamManager(ops), accounts: await new Kvm(ops).open(BUCKET_ACCOUNTS) }
}

const nowS = (): number => Math.floor(Date.now() / 1000)
/** A JWT of the issuer for this user; signed by the thief it is a forged one. */
const jwtOf = (walk: Walk, { userId }: Tenant, more: Record<string, unknown> = {}, key = walk.honest): string =>
  signed(key, { iss: walk.issuer, aud: walk.issuer, sub: userId, exp: nowS() + 600, ...more })

type HttpMore = { query?: string; headers?: Record<string, string> }
async function overHttp(
  { url }: Walk,
  operation: OperationName,
  jwt: string,
  body: object,
  more: HttpMore = {},
): Promise<string> {
  const response = await fetch(`${url}/mail/${operation}${more.query ?? ''}`, {
    method: operation === 'status' ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json', ...more.headers },
    ...(operation === 'status' ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  return `${JSON.stringify([...response.headers])}\n${await response.text()}`
}

async function overNats(nc: NatsConnection, subject: string, jwt: string | null, body: object): Promise<string> {
  const hdrs = headers()
  if (jwt !== null) hdrs.set(HEADER_AUTHORIZATION, `Bearer ${jwt}`)
  const reply = await nc.request(subject, JSON.stringify(body), { headers: hdrs, timeout: TIMEOUT_MS })
  const keys = reply.headers?.keys().map((name) => `${name}: ${reply.headers?.get(name)}`) ?? []
  return `${JSON.stringify(keys)}\n${reply.string()}`
}

type Way = (walk: Walk, me: Tenant, operation: OperationName, body: object) => Promise<string>
/** The ways that lead in. */
const WAYS: Record<'http' | 'nats' | 'as', Way> = {
  http: (walk, me, operation, body) => overHttp(walk, operation, jwtOf(walk, me), body),
  nats: (walk, me, operation, body) => overNats(walk.bridge, requestSubject(operation), jwtOf(walk, me), body),
  as: (walk, me, operation, body) => overNats(walk.service, asSubject(me.userId, operation), null, body),
}

/** One request as a rightful user. */
const own =
  (operation: OperationName, bodyOf: (me: Tenant) => object, way: keyof typeof WAYS): Step =>
  async (walk, me) => ({
    asked: `own ${operation} ${way}`,
    owner: me,
    text: await WAYS[way](walk, me, operation, bodyOf(me)),
  })

const inspect =
  (name: InspectionName, bodyOf: (other: Tenant) => object): Step =>
  async (walk, me, other) => ({
    asked: `own ${name}`,
    owner: me,
    text: await overNats(walk.service, asSubject(me.userId, name), null, bodyOf(other)),
  })

const none = (): object => ({})
const ofOneself =
  (asked: string, text: (walk: Walk, me: Tenant) => Promise<Answer['text']>): Step =>
  async (walk, me) => ({ asked, owner: me, text: await text(walk, me) })

export const OWN_STEPS: readonly Step[] = [
  ...(['http', 'nats', 'as'] as const).flatMap((way) => [
    ...[1, 2, 3].map(() => own('status', none, way)),
    own('connect', credentialsOf, way),
  ]),
  ofOneself('own mail', async ({ tenants }, me) => {
    deliver(tenants.box, me)
    return ''
  }),
  ofOneself('own subject', async ({ jsm }, me) => {
    const event = await jsm.streams.getMessage(EVENT_STREAM, { last_by_subj: eventSubject(me.userId) })
    return event?.data ?? ''
  }),
  ofOneself('own record', async ({ accounts }, me) => {
    const entry = await accounts.get(accountKey(me.userId, me.provider, 'primary'))
    return entry?.value ?? ''
  }),
  ofOneself('own database', async ({ tenants: { box } }, me) =>
    readAnyDb(box, me.userId, (db) =>
      JSON.stringify(db.prepare('SELECT * FROM email_received_events ORDER BY random() LIMIT 5').all()),
    ),
  ),
  inspect('quarantine', none),
  inspect('audit', none),
]

/** Where the user has a database now: the instances that own users hand them over. */
function readAnyDb(box: Tenants['box'], userId: string, read: Parameters<typeof readUserDb<string>>[3]): string {
  return ['a', 'b']
    .flatMap((instance) => {
      try {
        return [readUserDb(box, instance, userId, read)]
      } catch {
        return []
      }
    })
    .join('\n')
}

/** Few: what is disconnected gets no mail until it is connected again. */
export const DISCONNECT: Step = async (walk, me, other) => {
  const answer = await own('disconnect', ({ provider }) => ({ provider }), 'http')(walk, me, other)
  walk.tenants.signIn(me)
  return answer
}

const erasing = ({ provider }: Tenant, more: object = {}): object => ({ provider, erase: true, ...more })

const forged =
  (asked: string, text: (walk: Walk, me: Tenant, other: Tenant) => Promise<string>): Step =>
  async (walk, me, other) => ({ asked, owner: null, text: await text(walk, me, other) })

/** Requests of one user that try to be about another: by query, header, body, claim, key, subject. */
export const FOREIGN_STEPS: readonly Step[] = [
  async (walk, me, { userId }) => ({
    asked: 'refused: the other in the query',
    owner: me,
    text: await overHttp(walk, 'status', jwtOf(walk, me), {}, { query: `?user_id=${userId}` }),
  }),
  async (walk, me, { userId }) => ({
    asked: 'own token, the other in headers',
    owner: me,
    text: await overHttp(
      walk,
      'status',
      jwtOf(walk, me),
      {},
      { headers: { 'x-user-id': userId, 'mail-user': userId, 'x-forwarded-user': userId } },
    ),
  }),
  async (walk, me, other) => ({
    asked: 'refused: the other in the body',
    owner: me,
    text: await overHttp(walk, 'disconnect', jwtOf(walk, me), { provider: other.provider, user_id: other.userId }),
  }),
  async (walk, me, other) => ({
    asked: 'refused: the other in the body, over NATS',
    owner: me,
    text: await overNats(walk.bridge, requestSubject('status'), jwtOf(walk, me), { user_id: other.userId }),
  }),
  async (walk, me, other) => ({
    asked: 'own token, the other in further claims',
    owner: me,
    text: await overHttp(
      walk,
      'status',
      jwtOf(walk, me, { user_id: other.userId, email: other.userId, act: { sub: other.userId } }),
      {},
    ),
  }),
  forged('refused: forged token of the other', (walk, _me, other) =>
    overHttp(walk, 'status', jwtOf(walk, other, {}, walk.thief), {}),
  ),
  forged('refused: forged token of the other, over NATS', (walk, _me, other) =>
    overNats(walk.bridge, requestSubject('status'), jwtOf(walk, other, {}, walk.thief), {}),
  ),
  forged('refused: own signature under the claims of the other', (walk, me, other) => {
    const [header, , signature] = jwtOf(walk, me).split('.')
    const [, payload] = jwtOf(walk, other).split('.')
    return overHttp(walk, 'disconnect', `${header}.${payload}.${signature}`, { provider: other.provider })
  }),
  async (walk, me, other) => ({
    asked: 'refused: erasing the other in the body',
    owner: me,
    text: await overHttp(walk, 'disconnect', jwtOf(walk, me), erasing(other, { user_id: other.userId })),
  }),
  async (walk, me, other) => ({
    asked: 'refused: erasing the other in the body, over NATS',
    owner: me,
    text: await overNats(
      walk.bridge,
      requestSubject('disconnect'),
      jwtOf(walk, me),
      erasing(other, { user_id: other.userId }),
    ),
  }),
  forged('refused: erasing with a forged token of the other', (walk, _me, other) =>
    overHttp(walk, 'disconnect', jwtOf(walk, other, {}, walk.thief), erasing(other)),
  ),
  forged('refused: erasing with a forged token of the other, over NATS', (walk, _me, other) =>
    overNats(walk.bridge, requestSubject('disconnect'), jwtOf(walk, other, {}, walk.thief), erasing(other)),
  ),
  forged('denied: the bridge erases', (walk, _me, other) =>
    overNats(walk.bridge, eraseSubject(other.userId), null, {}).catch((error) => error.name),
  ),
  forged('denied: the bridge as a trusted service', (walk, _me, other) =>
    overNats(walk.bridge, asSubject(other.userId, 'status'), null, {}).catch((error) => error.name),
  ),
  inspect('why', ({ mails }) => ({ message_id: mails.at(-1) })),
]

/** Each role of nats.conf tries what belongs to the others and what belongs to nobody; the server must refuse all of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NatsConnection } from '#shared/nats.ts'
import { type NatsRole, type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { until } from '../support/until.ts'
import { connectAs } from './login.ts'
import { refusals } from './refusals.ts'
import {
  covers,
  FOREIGN,
  OPS,
  type Rights,
  ROLE_NAMES,
  ROLES,
  type Role,
  rightsInConf,
  sampleOf,
  WIDE,
} from './roles.ts'

const asRole = (stack: AsyncDisposableStack, server: NatsServer, role: NatsRole): Promise<NatsConnection> =>
  connectAs(stack, server, role, server.passwords[role])

type Attempt = { subject: string; queue?: string }
const key = (operation: string, { subject, queue }: Attempt): string =>
  [operation, subject, queue].filter(Boolean).join(' ')

const ALL: readonly Rights[] = Object.values(ROLES)
const unique = (subjects: readonly string[]): string[] => [...new Set(subjects)]
const PUBLISHES = unique([
  ...ALL.flatMap(({ publish, subscribe }) => [...publish, ...subscribe]).map((pattern) => sampleOf(pattern).subject),
  ...FOREIGN,
])
const SUBSCRIBES: Attempt[] = [
  ...unique([...PUBLISHES, ...WIDE, ...ALL.flatMap(({ publish }) => publish)]).map((subject) => ({ subject })),
  ...ALL.flatMap(({ subscribe }) => subscribe.map(sampleOf)).filter(({ queue }) => queue !== undefined),
  ...['mail.connect', 'mail.as.x.connect', '$SRV.PING'].map((subject) => ({ subject, queue: 'other' })),
]

const mayPublish = ({ publish }: Rights, subject: string): boolean =>
  publish.some((pattern) => covers(pattern, subject))
const maySubscribe = ({ subscribe }: Rights, { subject, queue }: Attempt): boolean =>
  subscribe.some((pattern) => {
    const [allowed = '', group] = pattern.split(' ')
    return covers(allowed, subject) && (group === undefined || group === queue)
  })

const attemptAll = (nc: NatsConnection): Promise<Set<string>> =>
  refusals(nc, () => {
    for (const subject of PUBLISHES) nc.publish(subject)
    for (const { subject, queue } of SUBSCRIBES)
      nc.subscribe(subject, { callback: () => undefined, ...(queue === undefined ? {} : { queue }) })
  })

test('nats.conf gives each role what the table says, no more and no less', () => {
  const sorted = (all: Record<string, Rights>) =>
    Object.fromEntries(
      Object.entries(all).map(([role, rights]) => [
        role,
        { publish: rights.publish.toSorted(), subscribe: rights.subscribe.toSorted() },
      ]),
    )
  assert.deepEqual(sorted(rightsInConf('allow')), sorted(ROLES))
  assert.deepEqual(sorted(rightsInConf('deny')), sorted({ ops: { publish: OPS.refused, subscribe: OPS.subscribe } }))
})

test('each role is refused every subject that is not in its own list, to publish and to listen', async (t) => {
  await using server = await startNatsServer()
  await using stack = new AsyncDisposableStack()
  let refused = 0
  for (const role of ROLE_NAMES) {
    const found = await attemptAll(await asRole(stack, server, role))
    const expected = [
      ...PUBLISHES.filter((subject) => !mayPublish(ROLES[role], subject)).map((subject) => key('publish', { subject })),
      ...SUBSCRIBES.filter((attempt) => !maySubscribe(ROLES[role], attempt)).map((attempt) =>
        key('subscription', attempt),
      ),
    ]
    const wanted = new Set(expected)
    const [missed, more] = [
      [...wanted].filter((what) => !found.has(what)),
      [...found].filter((what) => !wanted.has(what)),
    ]
    assert.deepEqual({ missed, more }, { missed: [], more: [] }, role)
    refused += found.size
  }
  t.diagnostic(
    `${ROLE_NAMES.length} roles, ${PUBLISHES.length} publishes and ${SUBSCRIBES.length} subscriptions each: ${refused} refused`,
  )
})

test('ops is refused to write on the audit trail and to listen to requests, also by crossing wildcards, and hears all else that it should', async () => {
  await using server = await startNatsServer()
  await using stack = new AsyncDisposableStack()
  const found = await attemptAll(await asRole(stack, server, 'ops'))
  const refused = [
    ...PUBLISHES.filter((subject) => mayPublish({ publish: OPS.refused, subscribe: [] }, subject)).map((subject) =>
      key('publish', { subject }),
    ),
    ...SUBSCRIBES.filter((attempt) => !maySubscribe({ publish: [], subscribe: OPS.subscribe }, attempt)).map(
      (attempt) => key('subscription', attempt),
    ),
  ]
  assert.deepEqual([...found].toSorted(), refused.toSorted())
  for (const one of ['publish audit.mail.x.y', 'subscription mail.as.x.connect', 'subscription *.connect'])
    assert.ok(found.has(one), one)
})

/** Who may, said once more without the lists: the rights that another role would be an attack with. */
const OWNERS: readonly [subject: string, ...roles: Role[]][] = [
  ['user.x.email.received', 'mailsync'],
  ['$KV.mail_accounts.x', 'mailsync'],
  ['$KV.mail_leases.x', 'mailsync'],
  ['$KV.mail_state.x', 'mailsync'],
  ['$O.mail_snapshots.x', 'mailsync'],
  ['mail.at.x.status', 'mailsync'],
  ['mail.connect', 'bridge', 'service'],
  ['mail.disconnect', 'bridge', 'service'],
  ['mail.as.x.connect', 'service'],
  ['mail.as.x.disconnect', 'service'],
  ['mail.fleet', 'service'],
  ['mail.rekey', 'service'],
  ['audit.mail.x.connect', 'mailsync'],
  ['$JS.API.STREAM.MSG.GET.MAIL_AUDIT', 'mailsync'],
  ['$JS.API.STREAM.MSG.GET.EMAIL_EVENTS', 'mailsync'],
  ['$JS.API.STREAM.MSG.GET.KV_mail_accounts', 'mailsync'],
  ['$JS.API.DIRECT.GET.KV_mail_accounts.x'],
  ['$JS.API.STREAM.DELETE.EMAIL_EVENTS'],
  ['$JS.API.STREAM.PURGE.EMAIL_EVENTS'],
  ['$JS.API.CONSUMER.CREATE.EMAIL_EVENTS.x', 'mailsync'],
  ['$JS.API.CONSUMER.DELETE.EMAIL_EVENTS.x', 'mailsync'],
  ['$JS.API.CONSUMER.MSG.NEXT.EMAIL_EVENTS.x', 'mailsync'],
  ['MAIL.API.CONSUMER.MSG.NEXT.EMAIL_EVENTS.consumer', 'consumer'],
  ['$JS.API.CONSUMER.CREATE.KV_mail_accounts.x', 'mailsync'],
]

test('each right that could be an attack belongs to the roles that need it, and to nobody else', async () => {
  await using server = await startNatsServer()
  await using stack = new AsyncDisposableStack()
  const may = new Map<string, Role[]>(OWNERS.map(([subject]) => [subject, []]))
  for (const role of ROLE_NAMES) {
    const nc = await asRole(stack, server, role)
    const found = await refusals(nc, () => {
      for (const [subject] of OWNERS) nc.publish(subject)
    })
    for (const [subject, roles] of may) if (!found.has(`publish ${subject}`)) roles.push(role)
  }
  assert.deepEqual(
    [...may].map(([subject, roles]) => [subject, ...roles]),
    OWNERS,
  )
})

test('control: on a server without users nobody is refused any of it', async () => {
  await using server = await startNatsServer({ conf: 'open' })
  await using stack = new AsyncDisposableStack()
  assert.deepEqual([...(await attemptAll(await asRole(stack, server, 'bridge')))], [])
})

test('the operator of the server sees no mail, and nothing that it sends arrives there; ops, which hears all else, hears no request', async () => {
  await using server = await startNatsServer()
  await using stack = new AsyncDisposableStack()
  const [sys, ops] = [await asRole(stack, server, 'sys'), await asRole(stack, server, 'ops')]
  const heard = { sys: new Set<string>(), ops: new Set<string>() }
  for (const [who, nc, patterns] of [
    ['sys', sys, ['>']],
    ['ops', ops, OPS.subscribe],
  ] as const)
    for (const pattern of patterns)
      nc.subscribe(pattern, { callback: (_error, { subject }) => void heard[who].add(subject) })
  await Promise.all([sys.flush(), ops.flush()])
  const heardByOps = ['user.ada.email.received', '$KV.mail_accounts.ada']
  const secret = ['mail.connect', 'mail.as.ada.connect', ...heardByOps]
  for (const nc of [sys, ops]) for (const subject of secret) nc.publish(subject)
  for (const nc of [sys, ops]) nc.publish('user.last')
  await until('both have heard what they sent themselves', () =>
    [heard.sys, heard.ops].every((each) => each.has('user.last')),
  )
  assert.deepEqual([...heard.ops].filter((subject) => subject !== 'user.last').toSorted(), heardByOps.toSorted())
  sys.publish('user.only.sys')
  ops.publish('user.only.ops')
  await until('each has heard its own', () => heard.sys.has('user.only.sys') && heard.ops.has('user.only.ops'))
  assert.ok(!heard.sys.has('user.only.ops') && !heard.ops.has('user.only.sys'))
})

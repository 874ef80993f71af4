/**
 * What each role of nats.conf may do, as a person would say it: the table that nats.conf is compared with, and that the
 * attempts of the roles are derived from. A queue group stands behind the subject.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export type Rights = { publish: readonly string[]; subscribe: readonly string[] }

const EVENTS = 'EMAIL_EVENTS'
const TRAIL = 'MAIL_AUDIT'
const KV = ['KV_mail_accounts', 'KV_mail_leases', 'KV_mail_state']
const OPERATIONS = ['connect', 'status', 'disconnect']
const INSPECTIONS = ['why', 'quarantine', 'audit']

const readers = (stream: string): string[] => [
  `$JS.API.CONSUMER.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.INFO.${stream}.*`,
  `$JS.API.CONSUMER.DELETE.${stream}.*`,
]

export const ROLES = {
  mailsync: {
    publish: [
      'user.*.email.received',
      ...['status', ...INSPECTIONS].map((what) => `mail.at.*.${what}`),
      'audit.mail.>',
      '$KV.mail_accounts.>',
      '$KV.mail_leases.>',
      '$KV.mail_state.>',
      '$O.mail_snapshots.>',
      '$JS.API.INFO',
      '$JS.API.STREAM.NAMES',
      ...[EVENTS, TRAIL, ...KV, 'OBJ_mail_snapshots'].flatMap((stream) =>
        ['INFO', 'CREATE', 'UPDATE', 'MSG.GET'].map((verb) => `$JS.API.STREAM.${verb}.${stream}`),
      ),
      '$JS.API.STREAM.PURGE.OBJ_mail_snapshots',
      // To erase a user.
      ...[EVENTS, 'KV_mail_accounts', 'KV_mail_state', 'OBJ_mail_snapshots'].map(
        (stream) => `$JS.API.STREAM.MSG.DELETE.${stream}`,
      ),
      ...[EVENTS, ...KV].flatMap(readers),
      `$JS.API.CONSUMER.MSG.NEXT.${EVENTS}.*`,
      ...KV.map((stream) => `$JS.FC.${stream}.>`),
    ],
    subscribe: [
      'mail.* mail-sync',
      'mail.fleet',
      'mail.rekey',
      'mail.as.*.* mail-sync',
      'mail.at.*.* mail-sync',
      '$SRV.>',
      '_INBOX_mailsync.>',
    ],
  },
  bridge: {
    publish: [...OPERATIONS.map((operation) => `mail.${operation}`), '$SRV.PING.mail-sync', '$SRV.STATS.mail-sync'],
    subscribe: ['_INBOX_bridge.>'],
  },
  service: {
    publish: [
      ...OPERATIONS.map((operation) => `mail.${operation}`),
      ...[...OPERATIONS, ...INSPECTIONS, 'erase'].map((operation) => `mail.as.*.${operation}`),
      'mail.fleet',
      'mail.rekey',
      '$SRV.>',
    ],
    subscribe: ['_INBOX_service.>'],
  },
  consumer: {
    publish: [
      `MAIL.API.STREAM.INFO.${EVENTS}`,
      `MAIL.API.DIRECT.GET.${EVENTS}`,
      `MAIL.API.CONSUMER.INFO.${EVENTS}.consumer`,
      `MAIL.API.CONSUMER.MSG.NEXT.${EVENTS}.consumer`,
      `$JS.ACK.${EVENTS}.consumer.>`,
    ],
    subscribe: ['_INBOX_consumer.>'],
  },
} as const satisfies Record<string, Rights>

/** What ops may not publish, all else it may; and what it may listen to: everything but requests. */
export const OPS = {
  refused: ['audit.mail.>'],
  subscribe: [
    ...['user', 'audit', '$KV', '$O', '$JS', '$SRV', '_INBOX'].map((first) => `${first}.>`),
    ...['ops', 'mailsync', 'bridge', 'service'].map((role) => `_INBOX_${role}.>`),
  ],
} as const

export type Role = keyof typeof ROLES
export const ROLE_NAMES = Object.keys(ROLES) as Role[]

/** Nobody but `ops` needs them. */
export const FOREIGN = [
  ...['mail', 'mail.as.x', 'mail.as.x.erase', 'mail.as.x.y.connect', 'user.x', 'user.x.email.sent', 'user.x.y'],
  ...['$KV.other.x', '$O.other.x', '$KV.mail_secrets.x', '$SYS.REQ.SERVER.PING', '$SYS.ACCOUNT.MAIL.CONNECT', '$G.x'],
  ...['LIST', 'INFO.OTHER', 'CREATE.OTHER', 'UPDATE.OTHER', 'MSG.GET.OTHER', 'PURGE.OTHER'].map(
    (verb) => `$JS.API.STREAM.${verb}`,
  ),
  ...['DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE', 'LEADER.STEPDOWN', 'PEER.REMOVE'].flatMap((verb) => [
    `$JS.API.STREAM.${verb}.${EVENTS}`,
    `$JS.API.STREAM.${verb}.KV_mail_accounts`,
  ]),
  ...['CREATE', 'INFO', 'DELETE', 'MSG.NEXT', 'NAMES', 'LIST', 'PAUSE'].map(
    (verb) => `$JS.API.CONSUMER.${verb}.OTHER.x`,
  ),
  ...['CREATE', 'NAMES', 'LIST'].map((verb) => `$JS.API.CONSUMER.${verb}.${EVENTS}`),
  `$JS.API.CONSUMER.DURABLE.CREATE.${EVENTS}.x`,
  ...['OTHER', `${EVENTS}.user.x.email.received`, 'KV_mail_accounts.x', 'KV_mail_leases.x'].map(
    (what) => `$JS.API.DIRECT.GET.${what}`,
  ),
  ...['ACCOUNT.PURGE.MAIL', 'META.LEADER.STEPDOWN', 'SERVER.REMOVE'].map((verb) => `$JS.API.${verb}`),
  ...[
    '$JS.ACK.OTHER.x',
    '$JS.ACK.KV_mail_accounts.x',
    '$JS.FC.OTHER.x',
    '$JS.EVENT.ADVISORY.API',
    '$JS.EVENT.METRIC.x',
  ],
  ...['_INBOX.x', '_INBOX_ops.x', '_INBOX_sys.x', '_INBOX_other.x', '_R_.x', 'x'],
]

/** Only for whoever listens: patterns that would hear more than is meant for anybody. */
export const WIDE = [
  '>',
  '*',
  '*.connect',
  '*.as.*.connect',
  '*.as.x.connect',
  '*.*',
  'mail.>',
  'mail.as.>',
  'user.>',
  'user.*.email.received',
  '$KV.>',
  '$JS.>',
  '$JS.API.>',
  '$SRV.>',
  '_INBOX.>',
  '_INBOX*.>',
  '$O.>',
]

/** One subject of a pattern, and the queue group. */
export function sampleOf(pattern: string): { subject: string; queue?: string } {
  const [subject = '', queue] = pattern.split(' ')
  const sample = subject.replaceAll('*', 'x').replace(/>$/, 'x.y')
  return queue === undefined ? { subject: sample } : { subject: sample, queue }
}

/** True when a pattern of NATS takes the subject; a subject that is a pattern itself must be no wider. */
export function covers(pattern: string, subject: string): boolean {
  const [wanted, given] = [pattern.split('.'), subject.split('.')]
  for (const [i, token] of wanted.entries()) {
    if (token === '>') return given.length > i
    if (given[i] === undefined || given[i] === '>' || (token !== '*' && token !== given[i])) return false
  }
  return wanted.length === given.length
}

/** The rights that nats.conf gives to those who have a list, or takes from those who have all others. */
export function rightsInConf(publishes: 'allow' | 'deny'): Record<string, Rights> {
  const conf = readFileSync(join(import.meta.dirname, '../../nats.conf'), 'utf8')
  const listOf = (text: string): string[] => [...text.matchAll(/"([^"]+)"/g)].map(([, subject = '']) => subject)
  const list = (what: string, kind: string): string => `${what} \\{ ${kind}: \\[([^\\]]*)\\]`
  const users = new RegExp(
    `\\{ user: (\\w+),[^{]*permissions \\{\\s*${list('publish', publishes)} \\}\\s*${list('subscribe', 'allow')}`,
    'g',
  )
  return Object.fromEntries(
    [...conf.matchAll(users)].map(([, user, publish = '', subscribe = '']) => [
      user,
      { publish: listOf(publish), subscribe: listOf(subscribe) },
    ]),
  )
}

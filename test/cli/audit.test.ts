/** `mailctl audit` over a real instance: what it prints, and its exit codes. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import SqliteDatabase from 'better-sqlite3'
import type { AuditReply } from '#shared/audit.ts'
import { encodeUser } from '#shared/user-token.ts'
import type { NatsRole } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { mailctl, type Ran } from './mailctl.ts'

const run = (box: Sandbox, args: string[], role: NatsRole = 'service'): Promise<Ran> =>
  mailctl(['audit', ...args], {
    NATS_URL: box.nats.url,
    NATS_USER: role,
    NATS_PASSWORD: box.nats.passwords[role],
    NO_COLOR: '1',
  })

const replies = ({ out }: Ran): AuditReply[] =>
  out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

test('audit prints what it compared, exits with 1 when it found anything and with 0 when not', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  await box.start('a')
  for (const user of ['ada', 'grace']) await box.connect(nc, user, 'google', { n: 20, mix: { draft: 0, spam: 0 } })
  await box.connect(nc, 'grace', 'microsoft', { n: 10 })
  await box.allLive(nc, ['ada', 'grace'])

  const clean = await run(box, ['--user', 'ada'])
  assert.deepEqual([clean.code, clean.err], [0, ''])
  assert.match(clean.out, /^ada:\n {2}mailbox +audit +provider +stored +published +missing +extra +twice +absent /)
  assert.match(clean.out, /^ {2}google\/primary +done +(\d+) +\1 +\1 +0 +0 +0 +0 +no +0 +5 quota units, 1 pass\(es\)$/m)

  const loseOne = (user: string): unknown => {
    const db = new SqliteDatabase(join(box.dir, 'a', 'users', encodeUser(user), 'events.db'))
    const id = db.prepare("SELECT event_id FROM email_received_events WHERE provider = 'GOOGLE'").pluck().get()
    db.prepare('DELETE FROM email_received_events WHERE event_id = ?').run(id)
    db.close()
    return id
  }
  // Of both, which are audited at the same time: neither's finding may be lost in the sum.
  const [, lost] = ['ada', 'grace'].map(loseOne)
  const all = await run(box, ['--all', '--json'], 'ops')
  const found = replies(all).toSorted((a, b) => (a.user_id < b.user_id ? -1 : 1))
  assert.deepEqual(
    found.map(({ user_id, accounts }) => [user_id, accounts.map(({ provider, missing }) => `${provider} ${missing}`)]),
    [
      ['ada', ['google 1']],
      ['grace', ['google 1', 'microsoft 0']],
    ],
  )
  assert.equal(found[1]?.accounts[0]?.findings[0]?.event_id, lost)
  assert.deepEqual([all.code, all.err], [1, '2 user(s): 2 with findings, 0 not audited\n'])

  const again = await run(box, ['--all'], 'ops')
  assert.deepEqual([again.code, again.err], [0, '2 user(s): 0 with findings, 0 not audited\n'])
})

test('audit takes one user or all, and says who may list them', async () => {
  await using box = await sandbox()
  await box.start('a')
  for (const args of [[], ['--all', '--user', 'ada']]) assert.equal((await run(box, args)).code, 2)
  const refused = await run(box, ['--all'])
  assert.equal(refused.code, 1)
  assert.match(refused.err, /may not/)
})

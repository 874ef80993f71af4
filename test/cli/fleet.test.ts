/** `mailctl fleet` over real instances, of which some are gone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FLEET_EXAMPLE, type FleetReply } from '#shared/fleet.ts'
import { FLEET_SUBJECT } from '#shared/subjects.ts'
import { startTapped } from '../security/own-conf.ts'
import type { NatsRole } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'
import { mailctl, type Ran } from './mailctl.ts'

const USERS = ['ada', 'grace', 'joan', 'mary']

const run = (box: Sandbox, args: string[], role: NatsRole = 'service'): Promise<Ran> =>
  mailctl(args, { NATS_URL: box.nats.url, NATS_USER: role, NATS_PASSWORD: box.nats.passwords[role], NO_COLOR: '1' })

type Absent = { instance: string; state: string; silent_ms: number; seen_by: string[]; runs_again: boolean }
type Fleet = { instances: FleetReply[]; absent: Absent[]; totals: { users: number; accounts: Record<string, number> } }

async function untilFleet(box: Sandbox, what: string, fits: (fleet: Fleet) => boolean): Promise<Fleet> {
  return await until(what, async () => {
    const ran = await run(box, ['fleet', '--json'])
    assert.deepEqual([ran.code, ran.err], [0, ''])
    const fleet: Fleet = JSON.parse(ran.out)
    if (!fits(fleet)) throw new Error(ran.out)
    return fleet
  })
}

test('fleet shows each instance, the sums, and the session of one that was killed, also when it runs again', async () => {
  await using box = await sandbox({ env: { MAIL_LEASE_SILENCE_MS: '60000' } })
  const nc = await box.connection('service')
  await box.start('a', { env: { MAIL_COMMIT: 'abc123' } })
  const b = await box.spawn('b')
  for (const user of USERS) await box.connect(nc, user, 'google', { n: 5 })
  await box.allLive(nc, USERS)
  const both = await untilFleet(box, 'all users are owned', ({ totals }) => totals.accounts.live === USERS.length)
  assert.deepEqual([both.instances.map(({ instance }) => instance), both.absent], [['a', 'b'], []])
  assert.equal(
    both.instances.reduce((sum, { users }) => sum + users, 0),
    both.totals.users,
  )

  await b.kill('SIGKILL')
  const alone = await untilFleet(box, 'b is missed', ({ absent }) => absent.length === 1)
  const [gone] = alone.absent
  assert.deepEqual([gone?.instance, gone?.state, gone?.seen_by, gone?.runs_again], ['b', 'live', ['a'], false])
  assert.ok((gone?.silent_ms ?? 0) > 0)
  const text = (await run(box, ['fleet'])).out
  assert.match(
    text,
    /^1 instance\(s\) answer; sessions that do not: 1 silent, 0 dead\n {2}instance +state +up +users +/,
  )
  assert.match(text, /^ {2}a +live +\d+s +\d .* abc123$/m)
  assert.match(
    text,
    /^ {2}all +\d .*\n {2}silent or dead +session +state +for +seen by\n {2}b +\S{36} +silent +\d+s +a$/m,
  )

  await box.spawn('b')
  const again = await untilFleet(box, 'the session before is dead', ({ absent }) => absent[0]?.state === 'dead')
  assert.deepEqual([again.absent.length, again.absent[0]?.runs_again], [1, true])
  assert.match((await run(box, ['fleet'])).out, /^ {2}b +\S{36} +dead +\d+s +a, b +runs again$/m)
})

test('fleet shows what is wrong with an instance, adds up, and leaves out what is no reply', async () => {
  await using stack = new AsyncDisposableStack()
  await using box = await sandbox({ nats: await startTapped(stack) })
  // An instance may answer once; this one answers for three.
  const nc = await box.connection('ops')
  const sick: FleetReply = {
    ...FLEET_EXAMPLE,
    instance: `mail${String.fromCharCode(27)}[2J-3`,
    sid: null,
    state: 'suspended',
    disk_fault: 'DISK_FULL',
    blind: true,
    users: 3,
    accounts: { backfilling: 1, retrying: 2 },
    zombie_writes_refused: { sqlite: 4, state: 0, stream: 1 },
    takeovers: { local: 2, gap: 1 },
    event_loop_lag_ms: { p50: 0, p99: 1_200.4, max: 5_000 },
    sessions: [
      { sid: 's2', instance: 'mail-2', state: 'dead', silent_ms: 90_000 },
      { sid: 's4', instance: 'mail-4', state: 'draining', silent_ms: 2_000 },
    ],
    sessions_left_out: 7,
  }
  const replies: unknown[] = [{ ...sick, users: -1 }, sick, { ...FLEET_EXAMPLE, sid: 's1', sessions: [] }]
  nc.subscribe(FLEET_SUBJECT, {
    callback: (_error, message) => {
      for (const reply of replies) nc.publish(message.reply ?? '', JSON.stringify(reply))
    },
  })
  await nc.flush()
  const lines = (await run(box, ['fleet'])).out.split('\n').map((line) => line.replace(/ {2,}/g, ' | '))
  assert.deepEqual(lines, [
    '2 instance(s) answer; sessions that do not: 0 silent, 1 draining, 1 dead',
    ' | 7 older session(s) are not shown',
    ' | instance | state | up | users | accounts | outbox | stored/s | events/s | refused | take-overs | lag p50 | p99 | max | version | node | commit',
    ' | mail [2J-3 | suspended DISK_FULL blind | 1h00m | 3 | backfilling 1, retrying 2 | 3 | 48.2 | 48.1 | sqlite 4, stream 1 | local 2, gap 1 | 0.0 ms | 1200 ms | 5000 ms | 0.1.0 | 24.0.0 | 0123456789ab',
    ' | mail-1 | live | 1h00m | 1200 | backfilling 10, live 1190 | 3 | 48.2 | 48.1 | - | local 1150, new 50 | 0.1 ms | 3.2 ms | 13 ms | 0.1.0 | 24.0.0 | 0123456789ab',
    ' | all | 1203 | backfilling 11, live 1190, retrying 2 | 6 | 96.4 | 96.2 | sqlite 4, stream 1 | local 1152, gap 1, new 50',
    ' | silent or dead | session | state | for | seen by',
    ' | mail-2 | s2 | dead | 1m30s | mail [2J-3',
    ' | mail-4 | s4 | draining | 2s | mail [2J-3',
    '',
  ])
})

test('when nobody answers fleet says so in one line and fails; whoever may not ask is told', async () => {
  await using box = await sandbox()
  const ran = await run(box, ['fleet'])
  assert.deepEqual(ran, { code: 1, out: '', err: '✖ no mail-sync instance answers: start one with "npm start"\n' })
  const json = await run(box, ['fleet', '--json'])
  assert.deepEqual([json.code, JSON.parse(json.out).error.code, json.err], [1, 'FAILED', ''])
  const refused = await run(box, ['fleet'], 'bridge')
  assert.equal(refused.code, 1)
  assert.match(refused.err, /^✖ this NATS user may not publish mail\.fleet: set NATS_USER.*\n$/)
})

/** `mailctl why` and `mailctl quarantine`: over a real instance, and every answer that there can be as text. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { INSPECT, type QuarantineReply, type WhyAnswer, type WhyReply } from '#shared/inspect.ts'
import { asSubject } from '#shared/subjects.ts'
import { startTapped } from '../security/own-conf.ts'
import type { NatsRole } from '../support/nats-server.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { mailctl, type Ran } from './mailctl.ts'

const run = (box: Sandbox, args: string[], role: NatsRole = 'service'): Promise<Ran> =>
  mailctl(args, { NATS_URL: box.nats.url, NATS_USER: role, NATS_PASSWORD: box.nats.passwords[role], NO_COLOR: '1' })
const ESCAPE = String.fromCharCode(27)

test('why shows how a mail got onto the stream; who is asked right after a connect waits for the owner', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 3, mix: { draft: 0, spam: 0, trash: 0, chat: 0 } })
  const early = await run(box, ['quarantine', '--user', 'ada'])
  assert.deepEqual(early, { code: 0, out: 'ada: 0 message(s) set aside\n', err: '' })
  await box.allLive(nc, ['ada'])
  const [id = ''] = box.sim.truth(box.simUser('ada'), 'google').must
  const ran = await run(box, ['why', '--user', 'ada', '--message', id])
  const time = '\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z'
  const lines = [
    `${id} of ada, says a:`,
    `  google/primary: stored at ${time}`,
    '    event [0-9a-f-]{36}',
    `    listed by page \\d+ of enum, in one transaction at ${time}, epoch \\d+\\.\\d+`,
    '      cursor \\(start\\) → \\{"pass":.*\\}',
    `    stored by page \\d+ of drain, in one transaction at ${time}, epoch \\d+\\.\\d+`,
    '      cursor \\(start\\) → \\(none\\)',
    `    outbox: row \\d+, published at ${time}`,
    '    stream: on_stream, sequence \\d+',
  ]
  assert.match(ran.out, new RegExp(`^${lines.join('\n')}\n$`))
  const json = await run(box, ['why', '-u', 'ada', '-m', id, '--provider', 'google', '--inbox', 'primary', '--json'])
  const reply: WhyReply = JSON.parse(json.out)
  assert.deepEqual([reply.message_id, reply.answers[0]?.is, json.code, json.err], [id, 'stored', 0, ''])
  const other = await run(box, ['why', '-u', 'ada', '-m', id, '--inbox', 'other'])
  assert.equal(other.out, `${id} of ada, says a:\n  the user has no such account\n`)

  const nobody = await run(box, ['why', '--user', 'eve', '--message', id])
  assert.deepEqual([nobody.code, nobody.out], [1, ''])
  assert.match(nobody.err, /^✖ NO_OWNER: No instance owns this user\.\n/)
  const hostile = await run(box, ['why', '--user', 'ada', '--message', '../../me'])
  assert.match(hostile.err, /^✖ BAD_REQUEST: [\s\S]*message_id/)
  for (const args of [
    ['why', '--user', 'ada'],
    ['why', '--message', id],
    ['quarantine'],
    ['why', '-u', 'ada', '-m', id, '--provider', 'aol'],
  ])
    assert.equal((await run(box, args)).code, 2, args.join(' '))
  const refused = await run(box, ['quarantine', '--user', 'ada'], 'bridge')
  assert.match(refused.err, /^✖ this NATS user may not publish mail\.as\.ada\.quarantine: /)
})

const of = { provider: 'google', inbox_id: 'primary' } as const
const answered = { status: 404, provider_code: 'notFound' }
const TOLD: [WhyAnswer, string[]][] = [
  [
    {
      is: 'stored',
      ...of,
      event_id: 'e1',
      stored_at: null,
      page: null,
      listed_by: null,
      outbox: null,
      stream: { is: 'gone', sequence: 7 },
    },
    [
      'published from another disk; its row is not here yet',
      'event e1',
      'stored by a page that is not known: it is older, or learned from the stream',
      'outbox: no row',
      'stream: gone, sequence 7',
    ],
  ],
  [
    {
      is: 'queued',
      ...of,
      set_aside: true,
      attempts: 3,
      reason: 'unavailable',
      error: '503 backendError',
      next_attempt_at: 1_700_000_000,
      listed_by: null,
    },
    [
      'set aside in quarantine: tried 3x, last unavailable (503 backendError), again at 2023-11-14T22:13:20.000Z',
      'listed by a page that is not known: it is older, or learned from the stream',
    ],
  ],
  [
    {
      is: 'queued',
      ...of,
      set_aside: false,
      attempts: 0,
      reason: null,
      error: null,
      next_attempt_at: null,
      listed_by: { page: 5, lane: 'enum', cursor: null, next_cursor: 'c2', epoch: { era: 1, rev: 2 }, committed_at: 0 },
    },
    [
      'waits in the fetch queue: tried 0x, again when its turn comes',
      'listed by page 5 of enum, in one transaction at 1970-01-01T00:00:00.000Z, epoch 1.2',
      '  cursor (start) → c2',
    ],
  ],
  [{ is: 'filtered', ...of, filter: `SPAM${ESCAPE}[2J` }, ['filtered: it is no event, because of SPAM [2J']],
  [{ is: 'not_at_provider', ...of, reason: 'missing', ...answered }, ['not at the provider: missing (404 notFound)']],
  [
    { is: 'unknown', ...of, readable: false, open_lanes: ['enum'] },
    ['not stored, not queued: the provider has it, in a shape that cannot be read', 'walks that are not over: enum'],
  ],
  [
    { is: 'unanswered', ...of, code: null, status: null, provider_code: null },
    ['not stored, not queued; the provider could not be asked: not connected'],
  ],
]

test('every answer has its text, and nothing in it drives a terminal', async () => {
  await using stack = new AsyncDisposableStack()
  await using box = await sandbox({ nats: await startTapped(stack) })
  const ops = await box.connection('ops')
  let reply: WhyReply | QuarantineReply = { user_id: 'ada', message_id: 'm1', instance: 'a', answers: [] }
  for (const name of ['why', 'quarantine'] as const)
    ops.subscribe(asSubject('ada', name), {
      callback: (_error, message) => void message.respond(JSON.stringify(reply)),
    })
  await ops.flush()
  reply = { ...reply, answers: TOLD.map(([answer]) => answer) }
  const lines = (await run(box, ['why', '-u', 'ada', '-m', 'm1'])).out.split('\n')
  const expected = TOLD.flatMap(([, [first, ...rest]]) => [
    `  google/primary: ${first}`,
    ...rest.map((line) => `    ${line}`),
  ])
  assert.deepEqual(lines, ['m1 of ada, says a:', ...expected, ''])

  reply = INSPECT.quarantine.example.reply as QuarantineReply
  const [account] = reply.accounts
  assert.ok(account !== undefined)
  reply = {
    ...reply,
    accounts: [
      { ...account, set_aside: 700 },
      { ...account, set_aside: 0, messages: [] },
    ],
  }
  const listed = (await run(box, ['quarantine', '-u', 'ada'])).out.split('\n')
  assert.deepEqual(
    listed.map((line) => line.replace(/ {2,}/g, ' | ')),
    [
      'user_abc123: 700 message(s) set aside, the next 1 are shown',
      ' | account | message | tried | last | again at | listed by | at',
      ' | google/primary | 18c1234567890abd | 3x | unavailable 500 backendError | 2023-11-14T22:23:19.000Z | history | 2023-11-14T22:11:40.000Z',
      '',
    ],
  )
})

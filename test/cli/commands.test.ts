import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { type EmailReceived, eventId } from '#shared/event.ts'
import { createJwtVerifier } from '#shared/jwt.ts'
import { EVENT_STREAM, EVENT_STREAM_SUBJECT, eventSubject } from '#shared/subjects.ts'
import { startBetterAuth } from '../support/better-auth.ts'
import { until } from '../support/until.ts'
import { type CliBox, cliBox } from './cli-box.ts'
import { mailctl, startMailctl } from './mailctl.ts'

let box: CliBox
before(async () => {
  box = await cliBox()
})
after(() => box[Symbol.asyncDispose]())

const TOKENS = { access_token: 'ya29.canary-access', refresh_token: '1//canary-refresh', expires_in: 3600 }
const ESCAPE = String.fromCharCode(27)

test('a mailbox is connected, shown and disconnected for a user, over mail.as.*', async () => {
  const service = box.env('service')
  const connected = await mailctl(['connect', 'google', '--user', 'ada'], service, JSON.stringify(TOKENS))
  assert.deepEqual(connected, { code: 0, out: '✔ mail sync started: google of user ada\n', err: '' })
  assert.deepEqual(box.service.seen.at(-1)?.body, { provider: 'google', ...TOKENS, inbox_id: 'primary' })

  const status = await mailctl(['status', '-u', 'ada'], service)
  assert.equal(status.code, 0)
  assert.equal(
    status.out,
    'ada: 1 of 1 running\n  google/primary  ada@example.com  connecting  0  outbox 0  on stand-in-1\n',
  )
  const json = await mailctl(['status', '--user', 'ada', '--json'], service)
  assert.deepEqual(JSON.parse(json.out).running_syncs, ['ada:primary:GOOGLE'])

  const again = await mailctl(['connect', 'google', '--user', 'ada', '--json'], service, JSON.stringify(TOKENS))
  assert.deepEqual(
    [again.code, JSON.parse(again.out), again.err],
    [0, { message: 'mail sync started', provider: 'google', user_id: 'ada' }, ''],
  )

  const gone = await mailctl(['--json', 'disconnect', 'google', '--user', 'ada'], service)
  assert.deepEqual([gone.code, JSON.parse(gone.out)], [0, { message: 'mail sync stopped' }])
  assert.equal((await mailctl(['status', '--user', 'ada'], service)).out, 'ada: no mailbox connected\n')
})

test('tokens come from two files as well, and are never shown', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-cli-'))
  t.after(() => rm(dir, { recursive: true }))
  const [access, refresh] = [join(dir, 'access'), join(dir, 'refresh')]
  await Promise.all([writeFile(access, 'ya29.canary\n'), writeFile(refresh, '1//canary\n')])
  const files = ['--access-token-file', access, '--refresh-token-file', refresh, '--inbox', 'work']
  const ran = await mailctl(['connect', 'microsoft', '--user', 'bob', ...files], box.env('service'))
  assert.equal(ran.code, 0, ran.err)
  assert.deepEqual(box.service.seen.at(-1)?.body, {
    provider: 'microsoft',
    access_token: 'ya29.canary',
    refresh_token: '1//canary',
    expires_in: 0,
    inbox_id: 'work',
  })
  const broken = await mailctl(['connect', 'google', '--user', 'bob'], box.env('service'), '{"access_token":"canary"')
  assert.equal(broken.code, 1)
  assert.doesNotMatch(ran.out + ran.err + broken.out + broken.err, /canary/)
})

test('an error of the service is shown with its hint, and with --json as its body; the exit code is 1', async () => {
  const args = ['disconnect', 'google', '--user', 'ada', '--inbox', 'No Such']
  const shown = await mailctl(args, box.env('service'))
  assert.equal(shown.code, 1)
  assert.match(shown.err, /^✖ BAD_REQUEST: The request does not fit its schema\.\n {2}See details/)
  const json = await mailctl([...args, '--json'], box.env('service'))
  assert.deepEqual([json.code, JSON.parse(json.out).error.code, json.err], [1, 'BAD_REQUEST', ''])
})

test("with the user's own JWT, from stdin or a file, no permission to act for users is needed", async (t) => {
  await using auth = await startBetterAuth()
  const verifier = createJwtVerifier({ jwksUrl: auth.jwksUrl, issuer: auth.url, audience: auth.url })
  await using box = await cliBox(verifier)
  const ada = await auth.signUp('ada@example.com')
  const bridge = box.env('bridge')
  const piped = await mailctl(['status', '--jwt', '-'], bridge, `${await ada.jwt()}\n`)
  assert.deepEqual(piped, { code: 0, out: `${ada.userId}: no mailbox connected\n`, err: '' })
  const dir = await mkdtemp(join(tmpdir(), 'mail-sync-cli-'))
  t.after(() => rm(dir, { recursive: true }))
  await writeFile(join(dir, 'jwt'), ada.sessionToken)
  const opaque = await mailctl(['status', '--jwt', join(dir, 'jwt')], bridge)
  assert.equal(opaque.code, 1)
  assert.match(opaque.err, /^✖ TOKEN_NOT_A_JWT: .*\n {2}Fetch a JWT from \/api\/auth\/token/)
  assert.ok(!opaque.err.includes(ada.sessionToken))
})

test('a NATS user without the permission is told which one is missing', async () => {
  const ran = await mailctl(['status', '--user', 'ada'], box.env('bridge'))
  assert.equal(ran.code, 1)
  assert.match(ran.err, /this NATS user may not publish mail\.as\.ada\.status: set NATS_USER/)
})

test('wrong usage is exit code 2 and names what is wrong; help is 0', async () => {
  const cases: [string[], RegExp][] = [
    [[], /Usage: mailctl/],
    [['conect'], /unknown command 'conect'/],
    [['status'], /give either --user or --jwt/],
    [['status', '--user', 'a', '--jwt', 'x'], /give either --user or --jwt/],
    [['connect', 'yahoo', '--user', 'a'], /provider must be one of google, microsoft/],
    [['connect'], /missing required argument 'provider'/],
    [['status', '--user', 'a', '--interval', '-1'], /seconds, more than 0/],
    ...['abc', '0', '-1', '1.5', '1e3'].map((n): [string[], RegExp] => [['tail', '-n', n], /a whole number from 1 to/]),
    ...['abc', '-1', '0.5', '31536001'].map((n): [string[], RegExp] => [
      ['connect', 'google', '--user', 'a', '--expires-in', n],
      /a whole number from 0 to 31536000/,
    ]),
    [['login', 'google', '--user', 'a', '--port', '65536'], /a whole number from 0 to 65535/],
    [['login', 'google', '--user', 'a'], /GOOGLE_CLIENT_ID is not set/],
  ]
  for (const [args, expected] of cases) {
    const ran = await mailctl(args, box.env('service'))
    assert.equal(ran.code, 2, `${args.join(' ')}: ${ran.err}`)
    assert.match(ran.err, expected)
  }
  const wrong = await mailctl(['micro'], { NATS_URL: 'nats://me:hunter2@localhost' })
  assert.equal(wrong.code, 2)
  assert.doesNotMatch(wrong.err, /hunter2/)
  const help = await mailctl(['--help'], {})
  assert.equal(help.code, 0)
  for (const name of ['login', 'connect', 'status', 'disconnect', 'tail', 'fleet', 'micro', 'doctor'])
    assert.match(help.out, new RegExp(`^ {2}${name} `, 'm'))
})

test('with --json wrong usage is an error on stdout as well, and nothing else is written', async () => {
  const cases: [string[], RegExp][] = [
    [['--json'], /^no command/],
    [['conect', '--json'], /^unknown command 'conect'/],
    [['tail', '--from', 'x', '--json'], /^option '--from <where>' argument 'x' is invalid/],
    [['connect', 'google', 'extra', '--json'], /^too many arguments for 'connect'/],
    [['connect', 'yahoo', '--user', 'a', '--json'], /^provider must be one of google, microsoft/],
  ]
  for (const [args, expected] of cases) {
    const ran = await mailctl(args, box.env('service'))
    assert.deepEqual([ran.code, ran.err], [2, ''], args.join(' '))
    const { error } = JSON.parse(ran.out)
    assert.equal(error.code, 'USAGE')
    assert.match(error.message, expected)
  }
})

test('micro shows each instance, its endpoints and their statistics', async () => {
  const ran = await mailctl(['micro'], box.env('service'))
  assert.equal(ran.code, 0, ran.err)
  assert.match(ran.out, /^stand-in-1 {2}mail-sync 0\.1\.0 {2}id \w+/)
  assert.match(ran.out, /^ {2}endpoint +subject +requests +errors +average +p50 +p95/m)
  assert.match(ran.out, /^ {2}as-status +mail\.as\.\*\.status +\d+ +\d+ /m)
  const json = JSON.parse((await mailctl(['micro', '--json'], box.env('service'))).out)
  assert.equal(json[0].info.metadata.instance, 'stand-in-1')
})

test('status --watch goes on until it is interrupted, and draws nothing off a terminal', async () => {
  const watching = startMailctl(['status', '--watch', '--interval', '0.05', '--user', 'eve'], box.env('service'))
  await until('three looks', () => watching.out().split('\n').length > 3)
  watching.stop()
  const ran = await watching.done
  assert.deepEqual([ran.code, ran.err], [0, ''])
  assert.equal(ran.out.replaceAll('eve: no mailbox connected\n', ''), '')
})

const event = (userId: string, n: number, subject: string): EmailReceived => ({
  event_id: eventId(userId, 'GOOGLE', 'primary', `m${n}`),
  ts: 1_700_000_000,
  msg_date: 1_700_000_000,
  provider: 'GOOGLE',
  inbox_id: 'primary',
  user_id: userId,
  provider_message_id: `m${n}`,
  provider_thread_id: null,
  subject,
  sender: 'grace@example.com',
  to_addrs: [],
  cc_addrs: [],
  bcc_addrs: [],
  snippet: '',
  headers: {},
  labels: [],
})

test('tail without the stream says what makes it', async () => {
  const ran = await mailctl(['tail'], box.env('consumer'))
  assert.deepEqual([ran.code, ran.out], [1, ''])
  assert.match(ran.err, /^✖ stream EMAIL_EVENTS is missing: an instance makes it at its start \("npm start"\)\n$/)
})

test('tail shows events of one user or of all, and no control character of a mail', async () => {
  const nc = await box.connect('ops')
  await (await jetstreamManager(nc)).streams.add({
    name: EVENT_STREAM,
    subjects: [EVENT_STREAM_SUBJECT],
    allow_direct: true,
  })
  const js = jetstream(nc)
  const publish = (userId: string, n: number, subject: string): Promise<unknown> =>
    js.publish(eventSubject(userId), JSON.stringify(event(userId, n, subject)))
  await publish('ada', 1, `Hi ${ESCAPE}[2J there`)
  await publish('bob', 2, 'Hello')
  await js.publish(eventSubject('bob'), 'not an event')

  const ada = await mailctl(['tail', 'ada', '--from', 'all', '--count', '1'], box.env('consumer'))
  assert.deepEqual(ada, {
    code: 0,
    out: '#1 2023-11-14T22:13:20Z ada google  grace@example.com  Hi  [2J there\n',
    err: '',
  })
  const all = await mailctl(['tail', '--from', 'all', '-n', '3', '--json'], box.env('consumer'))
  const [first, second, third] = all.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual([first.user_id, second.user_id, third], ['ada', 'bob', { seq: 3, malformed: true }])

  const live = startMailctl(['tail', 'ada', '--json'], box.env('consumer'))
  let n = 10
  await until('a new event arrives', async () => {
    await publish('ada', n++, 'New')
    return live.out().includes('"subject":"New"')
  })
  live.stop()
  assert.equal((await live.done).code, 0)
})

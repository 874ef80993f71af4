/** The credential of docs/consumers.md, with its settings and programs: it reads one user, and nothing else works. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { blocksOf, readDoc } from '../support/docs.ts'
import { MACHINE } from '../support/instance.ts'
import { until } from '../support/until.ts'
import { connectAs } from './login.ts'
import { natsConf, settingsIn, startWith, tapped, temporaryDir } from './own-conf.ts'
import { answerElsewhere, listen, makeStreams, publishEvent, tryEverything } from './readers.ts'

const DOC = 'docs/consumers.md'
const PASSWORD = 'p-of-the-reader'
const NAME = 'abc123'
const MINE = 'user_abc123'
const API = 'MAIL.API'
const run = promisify(execFile)

type Reader = { dir: string; ops: NatsConnection; reader: NatsConnection; env: NodeJS.ProcessEnv }

/** A server with the exports and the account of the document, events of three users, and the consumer made by its program. */
async function openReader(stack: AsyncDisposableStack): Promise<Reader> {
  const [exported = '', account = ''] = settingsIn(DOC)
  const conf = (await natsConf())
    .replace('exports: [', `exports: [\n${exported}`)
    .replace('\n  CONSUMER {', `\n${account}\n  CONSUMER {`)
    .replaceAll('$READER_PASSWORD', PASSWORD)
  const dir = await temporaryDir(stack)
  const server = await startWith(stack, dir, tapped(conf))
  const ops = await connectAs(stack, server, 'ops', server.passwords.ops)
  await makeStreams(ops)
  for (const user of [MINE, 'bob', 'user_abc1234', MINE]) await publishEvent(ops, user)
  const env = { ...MACHINE, NATS_URL: server.url, NATS_OPS_PASSWORD: server.passwords.ops, READER_PASSWORD: PASSWORD }
  writePrograms(dir)
  await run(process.execPath, [join(dir, 'programs', 'make-reader.ts')], { env, timeout: 20_000 })
  return { dir, ops, reader: await connectAs(stack, server, NAME, PASSWORD), env }
}

function writePrograms(dir: string): void {
  const folder = join(dir, 'programs')
  mkdirSync(folder)
  symlinkSync(join(import.meta.dirname, '../../node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  for (const { file, text } of blocksOf(readDoc(DOC))) if (file !== undefined) writeFileSync(join(folder, file), text)
}

test('the reader of one user gets its events, as they come, and acknowledges them', async () => {
  await using stack = new AsyncDisposableStack()
  const { dir, ops, env } = await openReader(stack)
  const child = execFile(process.execPath, [join(dir, 'programs', 'one-user.ts')], { env })
  let [output, faults] = ['', '']
  child.stdout?.on('data', (chunk) => (output += String(chunk)))
  child.stderr?.on('data', (chunk) => (faults += String(chunk)))
  const ended = once(child, 'exit')
  try {
    const lines = (): string[] => output.split('\n').filter((line) => line !== '')
    await until('both events are read', () => lines().length === 2 || (faults !== '' && assert.fail(faults)))
    await publishEvent(ops, 'bob')
    await publishEvent(ops, MINE)
    await until('the new one is read', () => lines().length === 3)
    for (const line of lines()) assert.match(line, new RegExp(`^event-\\d+-of-${MINE} ${MINE} canary of ${MINE}$`))
    const jsm = await jetstreamManager(ops)
    const info = () => jsm.consumers.info(EVENT_STREAM, NAME)
    await until('all are acknowledged', async () => {
      const { num_ack_pending, num_pending } = await info()
      return num_ack_pending === 0 && num_pending === 0
    })
  } finally {
    child.kill('SIGKILL')
    await ended
  }
})

test('with the credential of one user nothing else can be read, made, changed or written', async (t) => {
  await using stack = new AsyncDisposableStack()
  const { ops, reader } = await openReader(stack)
  const jsm = await jetstreamManager(ops)
  const bobs = { durable_name: 'bob', filter_subject: eventSubject('bob'), ack_policy: AckPolicy.Explicit }
  await jsm.consumers.add(EVENT_STREAM, bobs)
  const heard = await listen(ops)
  const { tried, passed } = await tryEverything(reader, NAME)
  assert.deepEqual(passed, [])
  // What the role consumer may read is more than this one may.
  for (const subject of [`${API}.STREAM.INFO.${EVENT_STREAM}`, `${API}.DIRECT.GET.${EVENT_STREAM}`])
    await assert.rejects(reader.request(subject, '{"seq":2}', { timeout: 2_000 }), /permissions violation/i, subject)
  assert.deepEqual([...heard], [])
  t.diagnostic(`${tried} attempts, all refused`)
})

test('an answer that the reader of one user wants elsewhere stays in its account', async () => {
  await using stack = new AsyncDisposableStack()
  const { ops, reader } = await openReader(stack)
  const heard = await listen(ops)
  await answerElsewhere(reader, [
    [`${API}.CONSUMER.INFO.${EVENT_STREAM}.${NAME}`, ''],
    [`${API}.CONSUMER.MSG.NEXT.${EVENT_STREAM}.${NAME}`, '{"batch":1,"no_wait":true}'],
  ])
  // Asked last, answered last.
  const consumer = await jetstream(reader, { apiPrefix: API }).consumers.get(EVENT_STREAM, NAME)
  await publishEvent(ops, MINE)
  assert.equal((await consumer.next())?.subject, eventSubject(MINE))
  await ops.flush()
  assert.deepEqual([...heard], [])
})
